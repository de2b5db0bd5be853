// Compiled for AVX-512 with bfloat16, which fused/cpu.cpp asks the CPU for.
#include <immintrin.h>

#include <algorithm>

#include "kernels/fused/cpu_loops.h"

namespace ekd {
namespace {

constexpr std::int64_t kFloats = 16;  // in a vector

// A vector of bfloat16 as floats: of the even channels, and of the odd ones.
struct Halves {
  __m512 even, odd;
};

__mmask32 channel_mask(std::int64_t left) { return left >= 32 ? ~__mmask32{0} : (__mmask32{1} << left) - 1; }
__mmask16 float_mask(std::int64_t left) {
  return left >= 16 ? ~__mmask16{0} : static_cast<__mmask16>(left <= 0 ? 0 : (1 << left) - 1);
}

Halves halves_of(__m512i bits) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(bits, 16)),
          _mm512_castsi512_ps(_mm512_and_si512(bits, _mm512_set1_epi32(static_cast<int>(0xffff0000u))))};
}
Halves load(const Bf16Bits* p, __mmask32 mask) { return halves_of(_mm512_maskz_loadu_epi16(mask, p)); }
Halves load_paired(const float* p) { return {_mm512_loadu_ps(p), _mm512_loadu_ps(p + kFloats)}; }
void store_paired(Halves v, float* p) {
  _mm512_storeu_ps(p, v.even);
  _mm512_storeu_ps(p + kFloats, v.odd);
}

// Even and odd channels woven together again, rounded.
__m512i woven(Halves v) {
  alignas(64) static constexpr std::uint16_t kOrder[32] = {0,  16, 1,  17, 2,  18, 3,  19, 4,  20, 5,
                                                           21, 6,  22, 7,  23, 8,  24, 9,  25, 10, 26,
                                                           11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  const auto both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(v.odd, v.even));
  return _mm512_permutexvar_epi16(_mm512_load_si512(kOrder), both);
}

Halves multiply_add(Halves a, Halves b, Halves c) {
  return {_mm512_fmadd_ps(a.even, b.even, c.even), _mm512_fmadd_ps(a.odd, b.odd, c.odd)};
}
Halves operator+(Halves a, Halves b) { return {_mm512_add_ps(a.even, b.even), _mm512_add_ps(a.odd, b.odd)}; }
Halves operator-(Halves a, Halves b) { return {_mm512_sub_ps(a.even, b.even), _mm512_sub_ps(a.odd, b.odd)}; }
// max(x, 0); NaN stays NaN: of two operands the second is taken where one is no number.
__m512 rectified(__m512 x) { return _mm512_max_ps(_mm512_setzero_ps(), x); }
Halves rectified(Halves v) { return {rectified(v.even), rectified(v.odd)}; }

enum class Reading { kAsItIs, kNormalised, kGradient };

template <Reading kHow>
void read_block(const ReadPixels& t, std::int64_t channel) {
  const std::int64_t padded = whole_blocks(t.channels);
  const __mmask32 mask = channel_mask(t.channels - channel);
  Halves scale, by_z, constant;
  if constexpr (kHow != Reading::kAsItIs) {
    scale = load_paired(t.coefficients + channel);
    by_z = load_paired(t.coefficients + padded + channel);
    constant = load_paired(t.coefficients + 2 * padded + channel);
  }
  const Bf16Bits *x = t.x + channel, *z = t.z + channel;
  Bf16Bits* to = t.to + channel;
  const __mmask32 room = t.to_step < padded ? mask : ~__mmask32{0};
  for (std::int64_t p = 0; p < t.pixels; ++p, x += t.x_step, to += t.to_step) {
    __m512i bits = _mm512_maskz_loadu_epi16(mask, x);
    if constexpr (kHow == Reading::kNormalised) {
      bits = woven(rectified(multiply_add(halves_of(bits), scale, constant)));
    } else if constexpr (kHow == Reading::kGradient) {
      bits = woven(multiply_add(halves_of(bits), scale, multiply_add(load(z, mask), by_z, constant)));
      z += t.x_step;
    }
    _mm512_mask_storeu_epi16(to, room, bits);
  }
}

void read(const ReadPixels& t) {
  for (std::int64_t channel = 0; channel < t.channels; channel += kChannelBlock) {
    if (t.coefficients == nullptr)
      read_block<Reading::kAsItIs>(t, channel);
    else if (t.z == nullptr)
      read_block<Reading::kNormalised>(t, channel);
    else
      read_block<Reading::kGradient>(t, channel);
  }
}

__m512 wide(__m256i bits) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16)); }

enum class Writing { kAsItIs, kAdded, kMasked };

// kVectors vectors of channels from `channel` on, of all pixels.
template <Writing kHow, bool kSums, int kVectors>
void write_block(const WritePixels& t, std::int64_t channel) {
  __m512 scale[kVectors], shift[kVectors], mean[kVectors], first[kVectors], second[kVectors];
  __mmask16 mask[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const std::int64_t c = channel + v * kFloats;
    mask[v] = float_mask(t.channels - c);
    if constexpr (kHow == Writing::kMasked) {
      scale[v] = _mm512_loadu_ps(t.scale + c);
      shift[v] = _mm512_loadu_ps(t.shift + c);
      mean[v] = _mm512_loadu_ps(t.mean + c);
    }
    if constexpr (kSums) {
      first[v] = _mm512_loadu_ps(t.first + c);
      second[v] = _mm512_loadu_ps(t.second + c);
    }
  }
  const float* from = t.from + channel;
  std::int64_t at = channel;
  for (std::int64_t p = 0; p < t.pixels; ++p, from += t.from_step, at += t.y_step) {
    for (int v = 0; v < kVectors; ++v) {
      const std::int64_t c = v * kFloats;
      __m512 value = _mm512_loadu_ps(from + c);
      if constexpr (kHow == Writing::kAdded)
        value = _mm512_add_ps(value, wide(_mm256_maskz_loadu_epi16(mask[v], t.added + at + c)));
      __m512 z;
      if constexpr (kHow == Writing::kMasked) {
        z = wide(_mm256_maskz_loadu_epi16(mask[v], t.z + at + c));
        const __mmask16 passes =
            _mm512_cmp_ps_mask(_mm512_fmadd_ps(z, scale[v], shift[v]), _mm512_setzero_ps(), _CMP_GT_OQ);
        value = _mm512_maskz_mov_ps(passes, value);
      }
      const auto bits = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(value));
      _mm256_mask_storeu_epi16(t.y + at + c, mask[v], bits);
      if constexpr (kSums) {
        const __m512 written = wide(bits);
        first[v] = _mm512_add_ps(first[v], written);
        second[v] = _mm512_fmadd_ps(written, kHow == Writing::kMasked ? _mm512_sub_ps(z, mean[v]) : written, second[v]);
      }
    }
  }
  if constexpr (kSums)
    for (int v = 0; v < kVectors; ++v) {
      _mm512_storeu_ps(t.first + channel + v * kFloats, first[v]);
      _mm512_storeu_ps(t.second + channel + v * kFloats, second[v]);
    }
}

template <Writing kHow, bool kSums>
void write_channels(const WritePixels& t) {
  std::int64_t channel = 0;
  for (; channel + 4 * kFloats <= whole_blocks(t.channels); channel += 4 * kFloats)
    write_block<kHow, kSums, 4>(t, channel);
  if (channel < t.channels) write_block<kHow, kSums, 2>(t, channel);
}

void write(const WritePixels& t) {
  const bool sums = t.first != nullptr;
  if (t.z != nullptr)
    sums ? write_channels<Writing::kMasked, true>(t) : write_channels<Writing::kMasked, false>(t);
  else if (t.added != nullptr)
    sums ? write_channels<Writing::kAdded, true>(t) : write_channels<Writing::kAdded, false>(t);
  else
    sums ? write_channels<Writing::kAsItIs, true>(t) : write_channels<Writing::kAsItIs, false>(t);
}

// 16 vectors of 32-bit numbers as a matrix, transposed.
void transpose_words(__m512i (&r)[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // r[4g + j] holds, in its 128-bit quarter q, column 4q + j of rows 4g to 4g + 3.
  for (int j = 0; j < 4; ++j) {
    const __m512i low01 = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x44),
                  high01 = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xee);
    const __m512i low23 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x44),
                  high23 = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xee);
    t[j] = _mm512_shuffle_i32x4(low01, low23, 0x88);
    t[4 + j] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
    t[8 + j] = _mm512_shuffle_i32x4(high01, high23, 0x88);
    t[12 + j] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
  }
  for (int i = 0; i < 16; ++i) r[i] = t[i];
}

void transpose(const Bf16Bits* in, std::int64_t in_row, std::int64_t rows, std::int64_t columns, Bf16Bits* out,
               std::int64_t out_row) {
  for (std::int64_t column = 0; column < columns; column += kFloats)
    for (std::int64_t row = 0; row < rows; row += 32) {
      __m512i words[16];  // of a pair of rows, a word for each column
      for (int i = 0; i < 16; ++i) {
        const Bf16Bits* upper = in + (row + 2 * i) * in_row + column;
        const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(upper)));
        const __m512i high =
            _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(upper + in_row)));
        words[i] = _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
      }
      transpose_words(words);
      for (int i = 0; i < 16; ++i) _mm512_storeu_si512(out + (column + i) * out_row + row, words[i]);
    }
}

void pair_rows(const Bf16Bits* in, std::int64_t columns, std::int64_t pairs, Bf16Bits* out) {
  alignas(64) std::uint16_t lower[32], upper[32];
  for (int i = 0; i < 32; ++i) {
    lower[i] = static_cast<std::uint16_t>(i / 2 + (i % 2) * 32);
    upper[i] = static_cast<std::uint16_t>(16 + i / 2 + (i % 2) * 32);
  }
  const __m512i first_half = _mm512_load_si512(lower), second_half = _mm512_load_si512(upper);
  for (std::int64_t c = 0; c < columns; c += 32)
    for (std::int64_t p = 0; p < pairs; ++p, out += 64) {
      const __m512i one = _mm512_loadu_si512(in + 2 * p * columns + c);
      const __m512i other = _mm512_loadu_si512(in + (2 * p + 1) * columns + c);
      _mm512_storeu_si512(out, _mm512_permutex2var_epi16(one, first_half, other));
      _mm512_storeu_si512(out + 32, _mm512_permutex2var_epi16(one, second_half, other));
    }
}

// Calls work(first channel, mask) for each block.
template <class Work>
void for_blocks(std::int64_t channels, const Work& work) {
  for (std::int64_t channel = 0; channel < channels; channel += kChannelBlock)
    work(channel, channel_mask(channels - channel));
}

void join(const ElementPass& t) {
  for_blocks(t.channels, [&](std::int64_t channel, __mmask32 mask) {
    const Halves scale = load_paired(t.scale + channel), constant = load_paired(t.constant + channel);
    for (std::int64_t p = 0; p < t.pixels; ++p) {
      const std::int64_t at = p * t.channels + channel;
      Halves value = multiply_add(load(t.x + at, mask), scale, constant);
      if (t.other != nullptr) value = value + load(t.other + at, mask);
      _mm512_mask_storeu_epi16(t.to + p * t.y_step + channel, mask, woven(rectified(value)));
    }
  });
}

template <bool kByResult>
void mask_blocks(const ElementPass& t) {
  for_blocks(t.channels, [&](std::int64_t channel, __mmask32 mask) {
    const Halves mean = load_paired(t.mean + channel);
    Halves scale, constant, first = load_paired(t.first + channel), second = load_paired(t.second + channel);
    if constexpr (!kByResult) {
      scale = load_paired(t.scale + channel);
      constant = load_paired(t.constant + channel);
    }
    for (std::int64_t p = 0; p < t.pixels; ++p) {
      const std::int64_t at = p * t.channels + channel, wide_at = p * t.y_step + channel;
      const Halves x = load(t.x + at, mask);
      __m512i passes;  // all bits of a number, or none
      if constexpr (kByResult) {
        // Above 0: neither zero nor with the sign, as whole numbers.
        passes = _mm512_movm_epi16(
            _mm512_cmpgt_epi16_mask(_mm512_maskz_loadu_epi16(mask, t.y + wide_at), _mm512_setzero_si512()));
      } else {
        const Halves result = multiply_add(x, scale, constant);
        const __mmask16 even = _mm512_cmp_ps_mask(result.even, _mm512_setzero_ps(), _CMP_GT_OQ);
        const __mmask16 odd = _mm512_cmp_ps_mask(result.odd, _mm512_setzero_ps(), _CMP_GT_OQ);
        passes = _mm512_or_si512(_mm512_maskz_set1_epi32(even, 0xffff),
                                 _mm512_maskz_set1_epi32(odd, static_cast<int>(0xffff0000u)));
      }
      const __m512i bits = _mm512_and_si512(passes, _mm512_maskz_loadu_epi16(mask, t.other + wide_at));
      _mm512_mask_storeu_epi16(t.to + at, mask, bits);
      const Halves g = halves_of(bits);
      first = first + g;
      second = multiply_add(g, x - mean, second);
    }
    store_paired(first, t.first + channel);
    store_paired(second, t.second + channel);
  });
}

void mask_gradient(const ElementPass& t) { t.y != nullptr ? mask_blocks<true>(t) : mask_blocks<false>(t); }

void moments(const ElementPass& t) {
  for_blocks(t.channels, [&](std::int64_t channel, __mmask32 mask) {
    Halves first = load_paired(t.first + channel), second = load_paired(t.second + channel);
    for (std::int64_t p = 0; p < t.pixels; ++p) {
      const Halves value = load(t.x + p * t.channels + channel, mask);
      first = first + value;
      second = multiply_add(value, value, second);
    }
    store_paired(first, t.first + channel);
    store_paired(second, t.second + channel);
  });
}

void norm_gradient(const ElementPass& t) {
  for_blocks(t.channels, [&](std::int64_t channel, __mmask32 mask) {
    const Halves scale = load_paired(t.scale + channel), by_x = load_paired(t.by_x + channel),
                 constant = load_paired(t.constant + channel);
    for (std::int64_t p = 0; p < t.pixels; ++p) {
      const std::int64_t at = p * t.channels + channel;
      Halves value = multiply_add(load(t.y + at, mask), scale, multiply_add(load(t.x + at, mask), by_x, constant));
      // Rounded before the addition, as where the two are passes of their own.
      if (t.other != nullptr) value = halves_of(woven(value)) + load(t.other + at, mask);
      _mm512_mask_storeu_epi16(t.to + at, mask, woven(value));
    }
  });
}

void pool(const PoolImage& t) {
  const Halves ninth{_mm512_set1_ps(1.0f / 9), _mm512_set1_ps(1.0f / 9)};
  for (std::int64_t i = 0; i < t.height / 2; ++i)
    for (std::int64_t j = 0; j < t.width / 2; ++j)
      for_blocks(t.channels, [&](std::int64_t channel, __mmask32 mask) {
        Halves sum{_mm512_setzero_ps(), _mm512_setzero_ps()};
        for (std::int64_t y = std::max<std::int64_t>(0, 2 * i - 1); y <= 2 * i + 1; ++y)
          for (std::int64_t x = std::max<std::int64_t>(0, 2 * j - 1); x <= 2 * j + 1; ++x)
            sum = sum + load(t.from + (y * t.width + x) * t.from_step + channel, mask);
        const Halves mean = multiply_add(sum, ninth, {_mm512_setzero_ps(), _mm512_setzero_ps()});
        _mm512_mask_storeu_epi16(t.to + (i * t.width / 2 + j) * t.to_step + channel, mask, woven(mean));
      });
}

void pool_gradient(const PoolImage& t) {
  const Halves ninth{_mm512_set1_ps(1.0f / 9), _mm512_set1_ps(1.0f / 9)};
  const std::int64_t down = t.height / 2, across = t.width / 2;
  for (std::int64_t y = 0; y < t.height; ++y)
    for (std::int64_t x = 0; x < t.width; ++x)
      for_blocks(t.channels, [&](std::int64_t channel, __mmask32 mask) {
        Halves sum{_mm512_setzero_ps(), _mm512_setzero_ps()};
        for (std::int64_t i = y / 2; i <= std::min((y + 1) / 2, down - 1); ++i)
          for (std::int64_t j = x / 2; j <= std::min((x + 1) / 2, across - 1); ++j)
            sum = sum + load(t.from + (i * across + j) * t.from_step + channel, mask);
        const Halves share = multiply_add(sum, ninth, {_mm512_setzero_ps(), _mm512_setzero_ps()});
        _mm512_mask_storeu_epi16(t.to + (y * t.width + x) * t.to_step + channel, mask, woven(share));
      });
}

bool add_fixed(const Terms& terms, std::int64_t count, float one, float most, long long* to) {
  __mmask16 in_range = ~__mmask16{0};
  for (std::int64_t i = 0; i < count; i += kFloats) {
    const __mmask16 mask = float_mask(count - i);
    __m512 sum = _mm512_maskz_loadu_ps(mask, terms.values + i);
    for (std::int64_t part = 1; part < terms.parts; ++part)
      sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(mask, terms.values + part * terms.apart + i));
    const __m512 steps = _mm512_mul_ps(sum, _mm512_set1_ps(one));
    const __mmask16 good = _mm512_cmp_ps_mask(_mm512_abs_ps(steps), _mm512_set1_ps(most), _CMP_LT_OQ);
    in_range &= good;
    const __mmask16 adds = good & mask;
    const auto add = [&](__m256 eight, __mmask8 which, long long* place) {
      const __m512i total = _mm512_add_epi64(_mm512_maskz_loadu_epi64(which, place), _mm512_cvtps_epi64(eight));
      _mm512_mask_storeu_epi64(place, which, total);
    };
    add(_mm512_castps512_ps256(steps), static_cast<__mmask8>(adds), to + i);
    add(_mm512_extractf32x8_ps(steps, 1), static_cast<__mmask8>(adds >> 8), to + i + 8);
  }
  return in_range == static_cast<__mmask16>(~__mmask16{0});
}

void round(const float* values, std::int64_t count, Bf16Bits* to) {
  for (std::int64_t i = 0; i < count; i += kFloats) {
    const __mmask16 mask = float_mask(count - i);
    _mm256_mask_storeu_epi16(to + i, mask,
                             reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, values + i))));
  }
}

}  // namespace

extern const FusedLoops kFusedLoops{
    .read = read,
    .write = write,
    .transpose = transpose,
    .pair_rows = pair_rows,
    .join = join,
    .mask_gradient = mask_gradient,
    .moments = moments,
    .norm_gradient = norm_gradient,
    .pool = pool,
    .pool_gradient = pool_gradient,
    .add_fixed = add_fixed,
    .round = round,
};

}  // namespace ekd

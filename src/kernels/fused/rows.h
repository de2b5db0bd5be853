// How pixels come into shared memory: read as they lie or, on the way, normalised with ReLU, or turned from a
// normalisation's output gradient into its input's. So normalisation has no pass of its own.
#pragma once

#include "kernels/bn_relu/bn_relu_passes.h"
#include "kernels/fused/block.h"
#include "kernels/fused/totals.h"

namespace ekd {

// A tensor [pixels, channels] with what is to be done to it when it is read.
struct Operand {
  const Bf16* x;
  const Bf16* z;  // null, or: x is a gradient behind ReLU's mask, and what is wanted is the gradient by z, norm's input
  Norm norm;      // with z null: x is norm's input, and max(normalised x, 0) is wanted; or not there
  int channels;
  // Null, or: z is a residual, max(normalised x + z, 0) is wanted, and goes here as well. Convolutions 1×1 alone.
  Bf16* joined;
};

constexpr int kCoefficients = 3;  // floats for each channel in shared memory

// Of channels first, …, first + count - 1, to [kCoefficients, count].
EKD_TEAM_TEMPLATE
template <class Block>
EKD_HOST_DEVICE inline void load_coefficients(Block& block, const Operand& operand, int first, int count, float* to) {
  if (!operand.norm.is_there()) return;
  for (int c = block.thread(); c < count; c += block.threads()) {
    if (operand.z && !operand.joined) {
      const NormSlope slope = norm_slope(operand.norm, first + c);
      to[c] = slope.scale;
      to[count + c] = slope.by_x;
      to[2 * count + c] = slope.constant;
    } else {
      const NormChannel channel = norm_channel(operand.norm, first + c);
      to[c] = channel.scale;
      to[count + c] = operand.joined ? 1 : 0;
      to[2 * count + c] = channel.shift;
    }
  }
}

// V neighbouring numbers as they lie in memory, in pairs of 32 bits (one number: in the lower half).
template <int V>
struct Packed {
  static constexpr int kWords = (V + 1) / 2;
  Lanes<std::uint32_t, kWords> words;
};
template <int V>
EKD_HOST_DEVICE inline Packed<V> load_packed(const Bf16* p) {
  if constexpr (V == 1)
    return {{{p->bits}}};
  else
    return {load_lanes<V / 2>(reinterpret_cast<const std::uint32_t*>(p))};
}
template <int V>
EKD_HOST_DEVICE inline void store_packed(const Packed<V>& packed, Bf16* p) {
  if constexpr (V == 1)
    p->bits = static_cast<std::uint16_t>(packed.words.at[0]);
  else
    store_lanes<V / 2>(packed.words, reinterpret_cast<std::uint32_t*>(p));
}
EKD_HOST_DEVICE inline float lower_of(std::uint32_t word) { return float_of(word << 16); }
EKD_HOST_DEVICE inline float upper_of(std::uint32_t word) { return float_of(word & 0xffff0000u); }
EKD_HOST_DEVICE inline std::uint32_t packed_pair(float lower, float upper) {
#ifdef __CUDA_ARCH__
  const __nv_bfloat162 pair = __floats2bfloat162_rn(lower, upper);
  return *reinterpret_cast<const std::uint32_t*>(&pair);
#else
  return from_float<Bf16>(lower).bits | static_cast<std::uint32_t>(from_float<Bf16>(upper).bits) << 16;
#endif
}

// NaN stays NaN.
EKD_HOST_DEVICE inline float at_least(float value, float least) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  float result;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(value), "f"(least));
  return result;
#else
  return value < least ? least : value;
#endif
}

// What a thread does to the V channels that it reads of every pixel: x · scale + z · by_z + constant, with ReLU where
// there is no z; or nothing.
template <int V>
struct RowReader {
  struct Loaded {
    Packed<V> x, z;
  };
  const Bf16 *x, *z;
  bool plain;
  float scale[V], by_z[V], constant[V];
  float least;  // ReLU's 0, or nothing

  EKD_HOST_DEVICE RowReader(const Operand& operand, int first, const float* from, int count, int column)
      : x(operand.x + first + column),
        z(operand.z ? operand.z + first + column : nullptr),
        plain(!operand.norm.is_there()),
        least(operand.z && !operand.joined ? -INFINITY : 0) {
    if (plain) return;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      scale[v] = from[column + v];
      by_z[v] = from[count + column + v];
      constant[v] = from[2 * count + column + v];
    }
  }
  EKD_HOST_DEVICE Loaded load(std::int64_t at) const {
    Loaded loaded{};
    loaded.x = load_packed<V>(x + at);
    if (z) loaded.z = load_packed<V>(z + at);
    return loaded;
  }
  EKD_HOST_DEVICE float made(float number, float z_number, int v) const {
    return at_least(fmaf(number, scale[v], fmaf(z_number, by_z[v], constant[v])), least);
  }
  EKD_HOST_DEVICE Packed<V> value(const Loaded& loaded) const {
    if (plain) return loaded.x;
    Packed<V> out;
#pragma unroll
    for (int w = 0; w < Packed<V>::kWords; ++w) {
      const std::uint32_t word = loaded.x.words.at[w], z_word = loaded.z.words.at[w];
      const float lower = made(lower_of(word), lower_of(z_word), 2 * w);
      out.words.at[w] = packed_pair(lower, V == 1 ? 0 : made(upper_of(word), upper_of(z_word), V == 1 ? 0 : 2 * w + 1));
    }
    return out;
  }
};

// Channels first, …, first + count - 1 of tile pixels 0, …, pixels - 1 to rows of shared memory `pitch` numbers apart.
// map(p) is where tile pixel p lies in the tensor, or -1 for zeros; `vectors` divides by count / V. `joins`: what is
// read goes to operand.joined as well.
EKD_TEAM_TEMPLATE
template <int V, class Block, class Map>
EKD_HOST_DEVICE inline void load_rows_by(Block& block, const Operand& operand, int first, int count,
                                         const Divisor& vectors, const float* coefficients, int pixels, const Map& map,
                                         Bf16* to, int pitch, bool joins = false) {
  constexpr int kAtOnce = 2;  // loads in flight together
  const int step = vectors.quotient(block.threads()), begin = vectors.quotient(block.thread());
  const int column = vectors.remainder(block.thread(), begin) * V;
  if (begin >= step) return;
  const RowReader<V> reader(operand, first, coefficients, count, column);
#pragma unroll 1
  for (int p = begin; p < pixels; p += kAtOnce * step) {
    typename RowReader<V>::Loaded loaded[kAtOnce];
    int at[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      at[k] = p + k * step < pixels ? map(p + k * step) : -1;
      if (at[k] >= 0) loaded[k] = reader.load(static_cast<std::int64_t>(at[k]) * operand.channels);
    }
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) {
      if (p + k * step >= pixels) continue;
      const Packed<V> value = at[k] >= 0 ? reader.value(loaded[k]) : Packed<V>{};
      store_packed<V>(value, to + (p + k * step) * pitch + column);
      if (joins && at[k] >= 0)
        store_packed<V>(value, operand.joined + static_cast<std::int64_t>(at[k]) * operand.channels + first + column);
    }
  }
}

// vector: numbers read at once; it divides count, first and the tensor's channels.
EKD_TEAM_TEMPLATE
template <class Block, class Map>
EKD_HOST_DEVICE inline void load_rows(Block& block, int vector, const Operand& operand, int first, int count,
                                      const Divisor& vectors, const float* coefficients, int pixels, const Map& map,
                                      Bf16* to, int pitch, bool joins) {
  if (vector == 8)
    load_rows_by<8>(block, operand, first, count, vectors, coefficients, pixels, map, to, pitch, joins);
  else if (vector == 4)
    load_rows_by<4>(block, operand, first, count, vectors, coefficients, pixels, map, to, pitch, joins);
  else if (vector == 2)
    load_rows_by<2>(block, operand, first, count, vectors, coefficients, pixels, map, to, pitch, joins);
  else
    load_rows_by<1>(block, operand, first, count, vectors, coefficients, pixels, map, to, pitch, joins);
}

EKD_TEAM_TEMPLATE
template <class Block>
EKD_HOST_DEVICE inline void fill_with_zeros(Block& block, char* memory, std::size_t bytes) {
  for (std::size_t at = 16 * block.thread(); at < bytes; at += 16 * static_cast<std::size_t>(block.threads()))
    *reinterpret_cast<Lanes<float, 4>*>(memory + at) = {};
}

// The widest vector of at most 16 bytes that divides a count of numbers, or several counts joined by bitwise or.
EKD_HOST_DEVICE inline int vector_of(int counts) {
  int vector = 8;
  while (counts % vector != 0) vector /= 2;
  return vector;
}

// Numbers of a row of shared memory for `count` numbers: a whole number of fragments, and an odd number of 16 bytes, so
// that eight rows lie in different banks.
EKD_HOST_DEVICE inline int padded16(int count) { return (count + 15) / 16 * 16; }
EKD_HOST_DEVICE inline int shared_pitch(int count) { return padded16(count) + 8; }

// A warp's products [32, 8 · kColumnTiles] to its place in [warps, 32, 8 · kColumnTiles].
EKD_TEAM_TEMPLATE
template <int kColumnTiles, class Block>
EKD_HOST_DEVICE inline void put_warp_products(Block& block, const float (&products)[2][kColumnTiles][4], float* to) {
  const int lane = block.thread() % kWarp, warp = block.thread() / kWarp;
#pragma unroll
  for (int n = 0; n < kColumnTiles; ++n)
#pragma unroll
    for (int m = 0; m < 2; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        store_lanes<2>(Lanes<float, 2>{products[m][n][half * 2], products[m][n][half * 2 + 1]},
                       to + (warp * 32 + m * 16 + half * 8 + lane / 4) * (8 * kColumnTiles) + n * 8 + lane % 4 * 2);
}

}  // namespace ekd

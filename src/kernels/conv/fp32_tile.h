// Small matrix products in float32 with the sums in registers, for files that are compiled for AVX2 and FMA. All in an
// unnamed namespace: no other file may get a copy that only such CPUs can run.
#pragma once

#include <immintrin.h>

#include <cstdint>

namespace ekd {
namespace {

constexpr std::int64_t kFloats = 8;  // in a vector

// How the left factor lies: element (row, k) at data[row · stride + k], or turned at data[k · stride + row].
enum class Left { kRows, kTurned };

template <Left kLeft>
struct LeftFactor {
  const float* data;
  std::int64_t stride;

  LeftFactor from_row(std::int64_t row) const { return {data + (kLeft == Left::kRows ? row * stride : row), stride}; }
  const float* at(std::int64_t row, std::int64_t k) const {
    return kLeft == Left::kRows ? data + row * stride + k : data + k * stride + row;
  }
};

// The right factor's row k at data + k · stride, as far as the tile is wide; likewise the result.
struct RightFactor {
  const float* data;
  std::int64_t stride;
};
struct TileResult {
  float* data;
  std::int64_t stride;
  bool streams = false;  // written past the caches, for which vectors begin at multiples of 32 bytes
};

// Lanes of a last vector of which `count` numbers count.
[[maybe_unused]] __m256i first_lanes(std::int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// Sums that fit beside `vectors` columns of factors: twelve of the sixteen registers.
constexpr int tile_rows(int vectors) { return vectors == 1 ? 8 : vectors == 2 ? 6 : 4; }

// result = or += left · right over `inner` products, for kRows rows and kVectors vectors of columns. With kMasked the
// last vector's other lanes are neither read nor written.
template <int kRows, int kVectors, bool kAdds, bool kMasked, Left kLeft>
__attribute__((always_inline)) inline void multiply_tile(LeftFactor<kLeft> left, RightFactor right, std::int64_t inner,
                                                         TileResult result, __m256i mask) {
  const auto read = [mask](const float* p, int v) {
    return kMasked && v == kVectors - 1 ? _mm256_maskload_ps(p + v * kFloats, mask) : _mm256_loadu_ps(p + v * kFloats);
  };
  __m256 sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] = kAdds ? read(result.data + r * result.stride, v) : _mm256_setzero_ps();
#pragma GCC unroll 4
  for (std::int64_t k = 0; k < inner; ++k) {
    __m256 factor[kVectors];
    for (int v = 0; v < kVectors; ++v) factor[v] = read(right.data + k * right.stride, v);
    for (int r = 0; r < kRows; ++r) {
      const __m256 broadcast = _mm256_broadcast_ss(left.at(r, k));
      for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm256_fmadd_ps(broadcast, factor[v], sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) {
      float* p = result.data + r * result.stride + v * kFloats;
      if (kMasked && v == kVectors - 1)
        _mm256_maskstore_ps(p, mask, sums[r][v]);
      else if (result.streams)
        _mm256_stream_ps(p, sums[r][v]);
      else
        _mm256_storeu_ps(p, sums[r][v]);
    }
}

template <int kVectors, bool kAdds, bool kMasked, Left kLeft>
struct ColumnOfTiles {
  LeftFactor<kLeft> left;
  RightFactor right;
  std::int64_t inner;
  TileResult result;
  __m256i mask;

  // Rows of the left factor often lie far apart, which the processor's own prefetching does not follow.
  void fetch_rows(std::int64_t first, std::int64_t last) const {
    constexpr std::int64_t kLine = 64 / sizeof(float);
    for (std::int64_t row = first; row < last; ++row)
      for (std::int64_t k = 0; k < inner; k += kLine) _mm_prefetch(left.at(row, k), _MM_HINT_T0);
  }

  template <int kRows>
  void tile(std::int64_t row, std::int64_t count) const {
    if constexpr (kLeft == Left::kRows) fetch_rows(row + kRows, row + 2 * kRows < count ? row + 2 * kRows : count);
    multiply_tile<kRows, kVectors, kAdds, kMasked>(
        left.from_row(row), right, inner, {result.data + row * result.stride, result.stride, result.streams}, mask);
  }

  // Tiles of kRows rows, then what is left in ever lower ones. Eight rows are two tiles of four rather than one of six
  // and a low one, which has too few sums to keep the adders busy.
  template <int kRows>
  void rows(std::int64_t row, std::int64_t count) const {
    for (; row + kRows <= count && (kRows != 6 || count - row != 8); row += kRows) tile<kRows>(row, count);
    if constexpr (kRows > 1) {
      if (row < count) rows<kRows == 6 ? 4 : kRows / 2>(row, count);
    }
  }
};

// The product of `rows` rows and kVectors vectors of columns.
template <int kVectors, bool kAdds, bool kMasked = false, Left kLeft>
void multiply_columns(LeftFactor<kLeft> left, std::int64_t rows, RightFactor right, std::int64_t inner,
                      TileResult result, __m256i mask = _mm256_setzero_si256()) {
  const ColumnOfTiles<kVectors, kAdds, kMasked, kLeft> tiles{left, right, inner, result, mask};
  tiles.template rows<tile_rows(kVectors)>(0, rows);
}

}  // namespace
}  // namespace ekd

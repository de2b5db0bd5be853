// Small matrix products in float32 with the sums in registers, for sources that are compiled once for each instruction
// set.
#pragma once

#include <cstdint>

#include "kernels/simd/pair.h"

namespace ekd {
namespace {

constexpr std::int64_t kFloats = Vector::size();

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
  bool streams = false;  // written past the caches, for which vectors begin at multiples of their size
};

// Lanes of a last vector of which `count` numbers count; the others are neither read nor written.
#if defined(CPU_CAPABILITY_AVX512)
constexpr int kRegisters = 32;
using Lanes = __mmask16;
[[maybe_unused]] Lanes first_lanes(std::int64_t count) { return static_cast<Lanes>((1U << count) - 1); }
Vector load_lanes(const float* p, Lanes lanes) { return _mm512_maskz_loadu_ps(lanes, p); }
void store_lanes(Vector v, float* p, Lanes lanes) { _mm512_mask_storeu_ps(p, lanes, v); }
#elif defined(CPU_CAPABILITY_AVX2)
constexpr int kRegisters = 16;
using Lanes = __m256i;
[[maybe_unused]] Lanes first_lanes(std::int64_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
Vector load_lanes(const float* p, Lanes lanes) { return _mm256_maskload_ps(p, lanes); }
void store_lanes(Vector v, float* p, Lanes lanes) { _mm256_maskstore_ps(p, lanes, v); }
#else
constexpr int kRegisters = 16;
using Lanes = std::int64_t;
[[maybe_unused]] Lanes first_lanes(std::int64_t count) { return count; }
Vector load_lanes(const float* p, Lanes lanes) { return Vector::loadu(p, lanes); }
void store_lanes(Vector v, float* p, Lanes lanes) { v.store(p, static_cast<int>(lanes)); }
#endif

// Rows of sums that fit beside `vectors` columns of factors: three quarters of the registers, or half of them for a
// single column.
constexpr int tile_rows(int vectors) { return kRegisters / 16 * (vectors == 1 ? 8 : vectors == 2 ? 6 : 4); }

// The next lower tile.
constexpr int lower_rows(int rows) { return rows == 12 ? 8 : rows == 6 ? 4 : rows / 2; }

// result = or += left · right over `inner` products, for kRows rows and kVectors vectors of columns. With kMasked only
// `lanes` of the last vector are there.
template <int kRows, int kVectors, bool kAdds, bool kMasked, Left kLeft>
__attribute__((always_inline)) inline void multiply_tile(LeftFactor<kLeft> left, RightFactor right, std::int64_t inner,
                                                         TileResult result, Lanes lanes) {
  const auto read = [lanes](const float* p, int v) {
    return kMasked && v == kVectors - 1 ? load_lanes(p + v * kFloats, lanes) : Vector::loadu(p + v * kFloats);
  };
  Vector sums[kRows][kVectors];
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) sums[r][v] = kAdds ? read(result.data + r * result.stride, v) : Vector(0);
#pragma GCC unroll 4
  for (std::int64_t k = 0; k < inner; ++k) {
    Vector factor[kVectors];
    for (int v = 0; v < kVectors; ++v) factor[v] = read(right.data + k * right.stride, v);
    for (int r = 0; r < kRows; ++r) {
      const Vector broadcast(*left.at(r, k));
      for (int v = 0; v < kVectors; ++v) sums[r][v] = at::vec::fmadd(broadcast, factor[v], sums[r][v]);
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) {
      float* p = result.data + r * result.stride + v * kFloats;
      if (kMasked && v == kVectors - 1)
        store_lanes(sums[r][v], p, lanes);
      else if (result.streams)
        stream(sums[r][v], p);
      else
        sums[r][v].store(p);
    }
}

template <int kVectors, bool kAdds, bool kMasked, Left kLeft>
struct ColumnOfTiles {
  LeftFactor<kLeft> left;
  RightFactor right;
  std::int64_t inner;
  TileResult result;
  Lanes lanes;

  // Rows of the left factor often lie far apart, which the processor's own prefetching does not follow.
  void fetch_rows(std::int64_t first, std::int64_t last) const {
    constexpr std::int64_t kLine = 64 / sizeof(float);
    for (std::int64_t row = first; row < last; ++row)
      for (std::int64_t k = 0; k < inner; k += kLine) __builtin_prefetch(left.at(row, k));
  }

  template <int kRows>
  void tile(std::int64_t row, std::int64_t count) const {
    if constexpr (kLeft == Left::kRows) fetch_rows(row + kRows, row + 2 * kRows < count ? row + 2 * kRows : count);
    multiply_tile<kRows, kVectors, kAdds, kMasked>(
        left.from_row(row), right, inner, {result.data + row * result.stride, result.stride, result.streams}, lanes);
  }

  // Tiles of kRows rows, then what is left in ever lower ones. Two tiles of the next lower height are better than one
  // and a very low one, which has too few sums to keep the adders busy.
  template <int kRows>
  void rows(std::int64_t row, std::int64_t count) const {
    constexpr int kLower = lower_rows(kRows);
    for (; row + kRows <= count && (kRows == 2 * kLower || count - row != 2 * kLower); row += kRows)
      tile<kRows>(row, count);
    if constexpr (kRows > 1) {
      if (row < count) rows<kLower>(row, count);
    }
  }
};

// The product of `rows` rows and kVectors vectors of columns.
template <int kVectors, bool kAdds, bool kMasked = false, Left kLeft>
void multiply_columns(LeftFactor<kLeft> left, std::int64_t rows, RightFactor right, std::int64_t inner,
                      TileResult result, Lanes lanes = Lanes()) {
  const ColumnOfTiles<kVectors, kAdds, kMasked, kLeft> tiles{left, right, inner, result, lanes};
  tiles.template rows<tile_rows(kVectors)>(0, rows);
}

}  // namespace
}  // namespace ekd

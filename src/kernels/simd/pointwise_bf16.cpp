// Compiled for AVX-512 BF16, which pointwise_takes asks the CPU for.
#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/conv/pointwise_loops.h"

namespace ekd {
namespace {

constexpr std::int64_t kLanes = 16;  // floats in a vector
constexpr int kWidest = 5;  // vectors side by side: 5 × 5 sums, 5 factors and one broadcast fill the 32 registers
constexpr std::int64_t kPairs = 64;  // pairs of rows that multiply_transposed works on at a time

// Rows of sums that fit beside `vectors` columns of them.
constexpr int tile_rows(int vectors) {
  return vectors == 1 ? 16 : vectors == 2 ? 12 : vectors == 3 ? 8 : vectors == 4 ? 6 : 5;
}

__m512bh as_bf16(__m512i v) { return reinterpret_cast<__m512bh>(v); }

__mmask16 lanes_left(std::int64_t columns) {
  return columns >= kLanes ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << columns) - 1);
}

// sums[r][v] += pairs of row r · panel. Row r's pairs lie at a + r · row_stride, one after another `pair_stride` apart;
// the panel's at b, `panel_stride` apart; strides in bytes.
template <int kRows, int kVectors>
void accumulate(const char* a, std::int64_t row_stride, std::int64_t pair_stride, const char* b,
                std::int64_t panel_stride, std::int64_t pairs, __m512 (&sums)[kRows][kVectors]) {
  for (std::int64_t k = 0; k < pairs; ++k) {
    __m512bh factor[kVectors];
    for (int v = 0; v < kVectors; ++v) factor[v] = as_bf16(_mm512_loadu_si512(b + k * panel_stride + v * 64));
    for (int r = 0; r < kRows; ++r) {
      int pair;
      std::memcpy(&pair, a + r * row_stride + k * pair_stride, sizeof pair);
      const __m512bh broadcast = as_bf16(_mm512_set1_epi32(pair));
      for (int v = 0; v < kVectors; ++v) sums[r][v] = _mm512_dpbf16_ps(sums[r][v], broadcast, factor[v]);
    }
  }
}

struct PanelProduct {
  MatrixView<const Bf16Bits> a;
  const Bf16Bits* panel;
  std::int64_t pairs, columns;  // columns: of this panel
  MatrixView<Bf16Bits> c;

  template <int kRows, int kVectors>
  void tile(std::int64_t row) const {
    __m512 sums[kRows][kVectors];
    for (auto& line : sums)
      for (auto& sum : line) sum = _mm512_setzero_ps();
    accumulate<kRows, kVectors>(reinterpret_cast<const char*>(a.data + row * a.stride), 2 * a.stride, 4,
                                reinterpret_cast<const char*>(panel), 64 * kVectors, pairs, sums);
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v)
        _mm256_mask_storeu_epi16(c.data + (row + r) * c.stride + v * kLanes, lanes_left(columns - v * kLanes),
                                 reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(sums[r][v])));
  }

  template <int kVectors>
  void rows(std::int64_t count) const {
    constexpr int kRows = tile_rows(kVectors);
    std::int64_t row = 0;
    for (; row + kRows <= count; row += kRows) tile<kRows, kVectors>(row);
    for (; row < count; ++row) tile<1, kVectors>(row);
  }
};

// Rows of both factors as pairs: out[p][i] holds elements i of rows 2p and 2p + 1. `width` counts 32-bit numbers of a
// row of `out`, a multiple of 16; what lies beyond the columns is 0.
void interleave(MatrixView<const Bf16Bits> in, std::int64_t columns, std::int64_t rows, std::uint32_t* out,
                std::int64_t width) {
  for (std::int64_t p = 0; 2 * p < rows; ++p) {
    const Bf16Bits* upper = in.data + 2 * p * in.stride;
    const bool lone = 2 * p + 1 == rows;
    for (std::int64_t i = 0; i < width; i += kLanes) {
      const __mmask16 mask = i < columns ? lanes_left(columns - i) : static_cast<__mmask16>(0);
      const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, upper + i));
      const __m512i high = _mm512_cvtepu16_epi32(
          _mm256_maskz_loadu_epi16(lone ? static_cast<__mmask16>(0) : mask, upper + in.stride + i));
      _mm512_storeu_si512(out + p * width + i, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
  }
}

struct TransposedProduct {
  const std::uint32_t *a, *b;  // interleaved
  std::int64_t a_width, b_width, pairs, n;
  MatrixView<float> c;

  template <int kRows, int kVectors>
  void tile(std::int64_t row, std::int64_t column) const {
    __m512 sums[kRows][kVectors];
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v)
        sums[r][v] = _mm512_maskz_loadu_ps(lanes_left(n - column - v * kLanes),
                                           c.data + (row + r) * c.stride + column + v * kLanes);
    accumulate<kRows, kVectors>(reinterpret_cast<const char*>(a + row), 4, 4 * a_width,
                                reinterpret_cast<const char*>(b + column), 4 * b_width, pairs, sums);
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v)
        _mm512_mask_storeu_ps(c.data + (row + r) * c.stride + column + v * kLanes, lanes_left(n - column - v * kLanes),
                              sums[r][v]);
  }

  template <int kVectors>
  void rows(std::int64_t m, std::int64_t column) const {
    constexpr int kRows = tile_rows(kVectors);
    std::int64_t row = 0;
    for (; row + kRows <= m; row += kRows) tile<kRows, kVectors>(row, column);
    for (; row < m; ++row) tile<1, kVectors>(row, column);
  }
};

// Calls work(first column, std::integral_constant of vectors) for panels that cover `columns`.
template <class Work>
void for_panels(std::int64_t columns, const Work& work) {
  for (std::int64_t first = 0; first < columns; first += kWidest * kLanes) {
    switch (std::min<std::int64_t>(kWidest, (columns - first + kLanes - 1) / kLanes)) {
      case 1:
        work(first, std::integral_constant<int, 1>{});
        break;
      case 2:
        work(first, std::integral_constant<int, 2>{});
        break;
      case 3:
        work(first, std::integral_constant<int, 3>{});
        break;
      case 4:
        work(first, std::integral_constant<int, 4>{});
        break;
      default:
        work(first, std::integral_constant<int, 5>{});
    }
  }
}

// A panel may read a whole vector past the last one that holds columns.
std::int64_t padded(std::int64_t columns) { return (columns + kLanes - 1) / kLanes * kLanes; }

Bf16Bits round_to_bf16(float value) {  // to nearest, ties to even
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return value != value ? 0x7fc0 : static_cast<Bf16Bits>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

std::int64_t packed_size(std::int64_t inner, std::int64_t columns) { return padded(columns) * inner; }

void pack_panels(const float* values, std::int64_t inner, std::int64_t columns, std::int64_t row, std::int64_t column,
                 Bf16Bits* panels) {
  for_panels(columns, [&](std::int64_t first, auto vectors) {
    constexpr std::int64_t kWidth = decltype(vectors)::value * kLanes;
    for (std::int64_t j = 0; j < std::min(kWidth, columns - first); ++j)
      for (std::int64_t k = 0; k < inner; ++k)
        panels[(k / 2 * kWidth + j) * 2 + k % 2] = round_to_bf16(values[k * row + (first + j) * column]);
    panels += inner * kWidth;
  });
}

void multiply(MatrixView<const Bf16Bits> a, std::int64_t rows, const PackedMatrix<Bf16Bits>& b, MatrixView<Bf16Bits> c,
              bool) {
  const Bf16Bits* panel = b.panels;
  for_panels(b.columns, [&](std::int64_t first, auto vectors) {
    constexpr int kVectors = decltype(vectors)::value;
    PanelProduct{a, panel, b.inner / 2, b.columns - first, {c.data + first, c.stride}}.template rows<kVectors>(rows);
    panel += b.inner * kVectors * kLanes;
  });
}

std::int64_t transposed_scratch(std::int64_t m, std::int64_t n) { return kPairs * (padded(m) + padded(n)); }

void multiply_transposed(MatrixView<const Bf16Bits> a, std::int64_t m, MatrixView<const Bf16Bits> b, std::int64_t n,
                         std::int64_t rows, MatrixView<float> c, std::uint32_t* scratch) {
  const std::int64_t a_width = padded(m), b_width = padded(n);
  std::uint32_t *a_pairs = scratch, *b_pairs = a_pairs + kPairs * a_width;
  for (std::int64_t first = 0; first < rows; first += 2 * kPairs) {
    const std::int64_t count = std::min(2 * kPairs, rows - first);
    interleave({a.data + first * a.stride, a.stride}, m, count, a_pairs, a_width);
    interleave({b.data + first * b.stride, b.stride}, n, count, b_pairs, b_width);
    const TransposedProduct product{a_pairs, b_pairs, a_width, b_width, (count + 1) / 2, n, c};
    for_panels(n,
               [&](std::int64_t column, auto vectors) { product.template rows<decltype(vectors)::value>(m, column); });
  }
}

}  // namespace

extern const PointwiseLoops<Bf16Bits> kPointwiseBf16{packed_size, pack_panels, multiply, transposed_scratch,
                                                     multiply_transposed};

}  // namespace ekd

// Matrix products over raw memory, with float32 sums: of bfloat16 (src/kernels/simd/pointwise_bf16.cpp) and of float32
// (src/kernels/simd/pointwise_fp32.cpp).
#pragma once

#include <cstdint>

namespace ekd {

using Bf16Bits = std::uint16_t;

// A matrix in memory: element (r, c) at data[r · stride + c].
template <class T>
struct MatrixView {
  T* data;
  std::int64_t stride;
};

#ifdef EKD_X86_KERNELS
// The right-hand factor [inner, columns] of a product, in panels of a few vectors of columns, each as the product reads
// it: bf16 with pairs of rows interleaved (inner is even), float32 row by row.
template <class T>
struct PackedMatrix {
  std::int64_t inner, columns;
  const T* panels;
};

// How many numbers the panels have; T is Bf16Bits or float.
template <class T>
constexpr std::int64_t packed_size(std::int64_t inner, std::int64_t columns) {
  constexpr std::int64_t kLanes = sizeof(T) == 2 ? 16 : 8;
  return (columns + kLanes - 1) / kLanes * kLanes * inner;
}

// Element (k, j) = values[k · row + j · column], rounded.
void pack_panels(const float* values, std::int64_t inner, std::int64_t columns, std::int64_t row, std::int64_t column,
                 Bf16Bits* panels);
void pack_panels(const float* values, std::int64_t inner, std::int64_t columns, std::int64_t row, std::int64_t column,
                 float* panels);

// c [rows, b.columns] = a [rows, b.inner] · b, rounded. `streams`: c may go past the caches, which only float32 does,
// where its lines are written whole.
void multiply(MatrixView<const Bf16Bits> a, std::int64_t rows, const PackedMatrix<Bf16Bits>& b, MatrixView<Bf16Bits> c,
              bool streams);
void multiply(MatrixView<const float> a, std::int64_t rows, const PackedMatrix<float>& b, MatrixView<float> c,
              bool streams);

// 32-bit numbers that multiply_transposed needs for itself.
std::int64_t transposed_scratch(std::int64_t m, std::int64_t n);

// c [m, n] += aᵀ · b for a [rows, m] and b [rows, n].
void multiply_transposed(MatrixView<const Bf16Bits> a, std::int64_t m, MatrixView<const Bf16Bits> b, std::int64_t n,
                         std::int64_t rows, MatrixView<float> c, std::uint32_t* scratch);
void multiply_transposed(MatrixView<const float> a, std::int64_t m, MatrixView<const float> b, std::int64_t n,
                         std::int64_t rows, MatrixView<float> c, std::uint32_t* scratch);
#endif

}  // namespace ekd

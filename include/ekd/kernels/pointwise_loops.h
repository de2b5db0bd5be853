// Matrix products in bfloat16 with float32 sums, over raw memory (src/kernels/simd/pointwise_bf16.cpp).
#pragma once

#include <cstdint>
#include <vector>

namespace ekd {

using Bf16Bits = std::uint16_t;

// A matrix in memory: element (r, c) at data[r · stride + c].
template <class T>
struct MatrixView {
  T* data;
  std::int64_t stride;
};

#ifdef EKD_X86_KERNELS
// The right-hand factor [inner, columns] of a product, in panels of up to 80 columns, in which pairs of rows are
// interleaved: what the instruction reads.
struct PackedMatrix {
  std::int64_t inner = 0, columns = 0;  // inner is even
  std::vector<Bf16Bits> panels;
};

// Element (k, j) = values[k · row + j · column], rounded.
PackedMatrix pack_matrix(const float* values, std::int64_t inner, std::int64_t columns, std::int64_t row,
                         std::int64_t column);

// c [rows, b.columns] = a [rows, b.inner] · b, rounded.
void multiply(MatrixView<const Bf16Bits> a, std::int64_t rows, const PackedMatrix& b, MatrixView<Bf16Bits> c);

// c [m, n] += aᵀ · b for a [rows, m] and b [rows, n]. `scratch` is resized as needed.
void multiply_transposed(MatrixView<const Bf16Bits> a, std::int64_t m, MatrixView<const Bf16Bits> b, std::int64_t n,
                         std::int64_t rows, MatrixView<float> c, std::vector<std::uint32_t>& scratch);
#endif

}  // namespace ekd

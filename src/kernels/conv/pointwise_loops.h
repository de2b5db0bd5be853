// Matrix products over raw memory, with float32 sums: of bfloat16 (src/kernels/simd/pointwise_bf16.cpp), and of float32
// in a table for each instruction set (src/kernels/simd/pointwise_fp32_loops.cpp).
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

// The right-hand factor [inner, columns] of a product, in panels of a few vectors of columns, each as the product reads
// it: bf16 with pairs of rows interleaved (inner is even), float32 row by row.
template <class T>
struct PackedMatrix {
  std::int64_t inner, columns;
  const T* panels;
};

// T is Bf16Bits or float.
template <class T>
struct PointwiseLoops {
  // How many numbers the panels have.
  std::int64_t (*packed_size)(std::int64_t inner, std::int64_t columns);

  // Element (k, j) = values[k · row + j · column], rounded.
  void (*pack_panels)(const float* values, std::int64_t inner, std::int64_t columns, std::int64_t row,
                      std::int64_t column, T* panels);

  // c [rows, b.columns] = a [rows, b.inner] · b, rounded. `streams`: c may go past the caches, which only float32 does,
  // where its lines are written whole.
  void (*multiply)(MatrixView<const T> a, std::int64_t rows, const PackedMatrix<T>& b, MatrixView<T> c, bool streams);

  // 32-bit numbers that multiply_transposed needs for itself.
  std::int64_t (*transposed_scratch)(std::int64_t m, std::int64_t n);

  // c [m, n] += aᵀ · b for a [rows, m] and b [rows, n].
  void (*multiply_transposed)(MatrixView<const T> a, std::int64_t m, MatrixView<const T> b, std::int64_t n,
                              std::int64_t rows, MatrixView<float> c, std::uint32_t* scratch);
};

extern const PointwiseLoops<float> kPointwisePlain;
#ifdef EKD_X86_KERNELS
extern const PointwiseLoops<float> kPointwiseAvx2;
extern const PointwiseLoops<float> kPointwiseAvx512;
extern const PointwiseLoops<Bf16Bits> kPointwiseBf16;
#endif

}  // namespace ekd

#include <type_traits>

#include "kernels/conv/fp32_tile.h"
#include "kernels/conv/pointwise_loops.h"
#include "kernels/cpu_loops.h"

namespace ekd {
namespace {

constexpr std::int64_t kRows = 64;  // that multiply_transposed works on at a time: they stay in the cache

// Calls work(first column, constant of vectors, whether the last vector is cut short) for panels that cover `columns`:
// two vectors wide where they fit exactly; else three, and two where a single one would be left over.
template <class Work>
void for_panels(std::int64_t columns, const Work& work) {
  for (std::int64_t first = 0; first < columns;) {
    const std::int64_t left = columns - first, vectors = (left + kFloats - 1) / kFloats;
    const auto panel = [&](auto width) {
      constexpr std::int64_t kWidth = decltype(width)::value * kFloats;
      work(first, width, left < kWidth);
      first += kWidth;
    };
    if (vectors == 1)
      panel(std::integral_constant<int, 1>{});
    else if (vectors == 2 || vectors == 4 || columns % (2 * kFloats) == 0)
      panel(std::integral_constant<int, 2>{});
    else
      panel(std::integral_constant<int, 3>{});
  }
}

// result = or += left · right, for one panel.
template <int kVectors, bool kAdds, Left kLeft>
void multiply_panel(LeftFactor<kLeft> left, std::int64_t rows, RightFactor right, std::int64_t inner, TileResult result,
                    bool cut, std::int64_t columns) {
  if (cut)
    multiply_columns<kVectors, kAdds, /*kMasked=*/true>(left, rows, right, inner, result,
                                                        first_lanes(columns - (kVectors - 1) * kFloats));
  else
    multiply_columns<kVectors, kAdds>(left, rows, right, inner, result);
}

std::int64_t packed_size(std::int64_t inner, std::int64_t columns) {
  return (columns + kFloats - 1) / kFloats * kFloats * inner;
}

void pack_panels(const float* values, std::int64_t inner, std::int64_t columns, std::int64_t row, std::int64_t column,
                 float* panels) {
  for_panels(columns, [&](std::int64_t first, auto vectors, bool) {
    constexpr std::int64_t kWidth = decltype(vectors)::value * kFloats;
    for (std::int64_t k = 0; k < inner; ++k)
      for (std::int64_t j = 0; j < kWidth; ++j)
        *panels++ = first + j < columns ? values[k * row + (first + j) * column] : 0;
  });
}

void multiply(MatrixView<const float> a, std::int64_t rows, const PackedMatrix<float>& b, MatrixView<float> c,
              bool streams) {
  constexpr std::int64_t kLine = 64 / sizeof(float);
  const bool whole_lines =
      b.columns % kLine == 0 && c.stride % kLine == 0 && reinterpret_cast<std::uintptr_t>(c.data) % 64 == 0;
  streams = streams && whole_lines;
  const float* panel = b.panels;
  for_panels(b.columns, [&](std::int64_t first, auto vectors, bool cut) {
    constexpr int kVectors = decltype(vectors)::value;
    multiply_panel<kVectors, /*kAdds=*/false>(LeftFactor<Left::kRows>{a.data, a.stride}, rows,
                                              {panel, kVectors * kFloats}, b.inner, {c.data + first, c.stride, streams},
                                              cut, b.columns - first);
    panel += b.inner * kVectors * kFloats;
  });
  if (streams) end_stream();
}

void multiply_transposed(MatrixView<const float> a, std::int64_t m, MatrixView<const float> b, std::int64_t n,
                         std::int64_t rows, MatrixView<float> c, std::uint32_t*) {
  for (std::int64_t begin = 0; begin < rows; begin += kRows) {
    const std::int64_t count = rows - begin < kRows ? rows - begin : kRows;
    for_panels(n, [&](std::int64_t first, auto vectors, bool cut) {
      multiply_panel<decltype(vectors)::value, /*kAdds=*/true>(
          LeftFactor<Left::kTurned>{a.data + begin * a.stride, a.stride}, m,
          {b.data + begin * b.stride + first, b.stride}, count, {c.data + first, c.stride}, cut, n - first);
    });
  }
}

std::int64_t no_scratch(std::int64_t, std::int64_t) { return 0; }

}  // namespace

extern const PointwiseLoops<float> EKD_TABLE(kPointwise){packed_size, pack_panels, multiply, no_scratch,
                                                         multiply_transposed};

}  // namespace ekd

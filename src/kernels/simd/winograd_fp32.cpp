// Compiled for AVX2 and FMA, which winograd_takes asks the CPU for.
#include <immintrin.h>

#include "ekd/kernels/fp32_tile.h"
#include "ekd/kernels/winograd_loops.h"

namespace ekd {
namespace {

constexpr std::int64_t kPoints = kWinogradPoints, kPanel = kWinogradChannels;
constexpr std::int64_t kApart = 16;  // keeps the 16 parts of a block out of each other's cache sets
alignas(64) constexpr float kBeyond[kWinogradMostChannels] = {};  // read in place of pixels beyond the border

__m256 load(const float* p) { return _mm256_loadu_ps(p); }
void store(__m256 v, float* p) { _mm256_storeu_ps(p, v); }

// A block of transformed tiles: number c of tile t at point p is data[p · stride + t · channels + c].
struct Block {
  float* data;
  std::int64_t channels;

  std::int64_t stride() const { return kWinogradBlock * channels + kApart; }
  std::int64_t size() const { return kPoints * stride(); }
  float* point(std::int64_t p) const { return data + p * stride(); }
  float* tile(std::int64_t t) const { return data + t * channels; }
};

// The upper left pixel of a tile's result.
struct Place {
  std::int64_t image, row, column;
};

Place place_of(const WinogradShape& shape, std::int64_t tile) {
  const std::int64_t across = shape.width / 2, down = shape.height / 2;
  return {tile / (across * down), tile / across % down * 2, tile % across * 2};
}

std::int64_t offset_of(const WinogradShape& shape, const Place& place, std::int64_t channels) {
  return ((place.image * shape.height + place.row) * shape.width + place.column) * channels;
}

// One dimension of Bᵀ d B, of A y Aᵀ and of Aᵀ m A.
struct Four {
  __m256 at[4];
};
Four input_transform(__m256 a, __m256 b, __m256 c, __m256 d) { return {{a - c, b + c, c - b, b - d}}; }
Four gradient_transform(__m256 a, __m256 b) { return {{a, a + b, a - b, -b}}; }

struct Two {
  __m256 at[2];
};
Two output_transform(__m256 a, __m256 b, __m256 c, __m256 d) { return {{a + (b + c), (b - c) - d}}; }

void transform_input(const float* x, const WinogradShape& shape, const Place& place, Block block, std::int64_t tile) {
  const float* pixel[4][4];
  for (std::int64_t i = 0; i < 4; ++i)
    for (std::int64_t j = 0; j < 4; ++j) {
      const Place at{place.image, place.row + i - 1, place.column + j - 1};
      const bool inside = at.row >= 0 && at.row < shape.height && at.column >= 0 && at.column < shape.width;
      pixel[i][j] = inside ? x + offset_of(shape, at, block.channels) : kBeyond;
    }
  float* out = block.tile(tile);
  for (std::int64_t c = 0; c < block.channels; c += kFloats) {
    Four columns[4];
    for (int j = 0; j < 4; ++j)
      columns[j] =
          input_transform(load(pixel[0][j] + c), load(pixel[1][j] + c), load(pixel[2][j] + c), load(pixel[3][j] + c));
    for (int i = 0; i < 4; ++i) {
      const Four row = input_transform(columns[0].at[i], columns[1].at[i], columns[2].at[i], columns[3].at[i]);
      for (int j = 0; j < 4; ++j) store(row.at[j], out + (4 * i + j) * block.stride() + c);
    }
  }
}

void transform_gradient(const float* grad, const WinogradShape& shape, const Place& place, Block block,
                        std::int64_t tile) {
  const float* upper = grad + offset_of(shape, place, block.channels);
  const float* lower = upper + shape.width * block.channels;
  float* out = block.tile(tile);
  for (std::int64_t c = 0; c < block.channels; c += kFloats) {
    const Four left = gradient_transform(load(upper + c), load(lower + c));
    const Four right = gradient_transform(load(upper + block.channels + c), load(lower + block.channels + c));
    for (int i = 0; i < 4; ++i) {
      const Four row = gradient_transform(left.at[i], right.at[i]);
      for (int j = 0; j < 4; ++j) store(row.at[j], out + (4 * i + j) * block.stride() + c);
    }
  }
}

enum class Ending { kNone, kResidual, kShiftRelu };

// Transforms a tile back and finishes it.
template <Ending kEnding>
void finish_tile(const WinogradConvolution& task, Block block, std::int64_t tile, const Place& place) {
  const std::int64_t channels = block.channels, corner = offset_of(task.shape, place, channels);
  const float* in = block.tile(tile);
  for (std::int64_t c = 0; c < channels; c += kFloats) {
    Two columns[4];
    for (int j = 0; j < 4; ++j) {
      const auto at = [&](int i) { return load(in + (4 * i + j) * block.stride() + c); };
      columns[j] = output_transform(at(0), at(1), at(2), at(3));
    }
    for (int i = 0; i < 2; ++i) {
      const Two row = output_transform(columns[0].at[i], columns[1].at[i], columns[2].at[i], columns[3].at[i]);
      for (int j = 0; j < 2; ++j) {
        const std::int64_t offset = corner + (i * task.shape.width + j) * channels + c;
        __m256 value = row.at[j];
        if constexpr (kEnding == Ending::kResidual) value += load(task.residual + offset);
        // In this order NaN stays NaN.
        if constexpr (kEnding == Ending::kShiftRelu)
          value = _mm256_max_ps(_mm256_setzero_ps(), value + load(task.shift + c));
        store(value, task.y + offset);
      }
    }
  }
}

using Finish = void (*)(const WinogradConvolution&, Block, std::int64_t, const Place&);

Finish finish_for(const WinogradConvolution& task) {
  if (task.shift) return finish_tile<Ending::kShiftRelu>;
  return task.residual ? finish_tile<Ending::kResidual> : finish_tile<Ending::kNone>;
}

template <class Work>
void for_blocks(std::int64_t first, std::int64_t last, const Work& work) {
  for (; first < last; first += kWinogradBlock)
    work(first, last - first < kWinogradBlock ? last - first : kWinogradBlock);
}

// One dimension of G g Gᵀ.
Four weight_transform(__m256 a, __m256 b, __m256 c) {
  const __m256 half = _mm256_set1_ps(0.5f);
  return {{a, half * (a + b + c), half * (a - b + c), c}};
}

// kernel(o, i, row, column) gives the weights of 8 output channels from o on; i counts the input's.
template <class Kernel>
void transform_weights(std::int64_t in, std::int64_t out, std::int64_t first, std::int64_t last, float* transformed,
                       const Kernel& kernel) {
  for (std::int64_t o = first * kPanel; o < last * kPanel; o += kFloats)
    for (std::int64_t i = 0; i < in; ++i) {
      Four columns[3];
      for (int j = 0; j < 3; ++j)
        columns[j] = weight_transform(kernel(o, i, 0, j), kernel(o, i, 1, j), kernel(o, i, 2, j));
      float* to = transformed + (o / kPanel * in + i) * kPanel + o % kPanel;
      for (int p = 0; p < 4; ++p) {
        const Four row = weight_transform(columns[0].at[p], columns[1].at[p], columns[2].at[p]);
        for (int q = 0; q < 4; ++q) store(row.at[q], to + (4 * p + q) * out * in);
      }
    }
}

}  // namespace

std::int64_t winograd_scratch(const WinogradShape& shape) {
  return Block{nullptr, shape.in}.size() + Block{nullptr, shape.out}.size();
}

void winograd_forward_weights(const float* weight, const float* scale, std::int64_t in, std::int64_t out,
                              std::int64_t first, std::int64_t last, float* transformed) {
  const auto apart = static_cast<int>(9 * in);  // output channels
  const __m256i lanes = _mm256_mullo_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(apart));
  transform_weights(in, out, first, last, transformed, [=](std::int64_t o, std::int64_t i, int row, int column) {
    const __m256 weights = _mm256_i32gather_ps(weight + ((o * 3 + row) * 3 + column) * in + i, lanes, sizeof(float));
    return scale ? weights * load(scale + o) : weights;
  });
}

void winograd_backward_weights(const float* weight, std::int64_t in, std::int64_t out, std::int64_t first,
                               std::int64_t last, float* transformed) {
  transform_weights(out, in, first, last, transformed, [=](std::int64_t o, std::int64_t i, int row, int column) {
    return load(weight + ((i * 3 + 2 - row) * 3 + 2 - column) * in + o);
  });
}

void winograd_convolve(const WinogradConvolution& task, std::int64_t first, std::int64_t last, float* scratch) {
  const WinogradShape& shape = task.shape;
  const Block input{scratch, shape.in}, product{scratch + input.size(), shape.out};
  const Finish finish = finish_for(task);
  for_blocks(first, last, [&](std::int64_t begin, std::int64_t count) {
    for (std::int64_t t = 0; t < count; ++t) transform_input(task.x, shape, place_of(shape, begin + t), input, t);
    for (std::int64_t p = 0; p < kPoints; ++p)
      for (std::int64_t o = 0; o < shape.out; o += kPanel)
        multiply_columns<2, /*kAdds=*/false>(LeftFactor<Left::kRows>{input.point(p), shape.in}, count,
                                             {task.weight + (p * shape.out + o) * shape.in, kPanel}, shape.in,
                                             {product.point(p) + o, shape.out});
    for (std::int64_t t = 0; t < count; ++t) finish(task, product, t, place_of(shape, begin + t));
  });
}

void winograd_weight_sums(const float* x, const float* grad, const WinogradShape& shape, std::int64_t first,
                          std::int64_t last, float* sums, float* scratch) {
  const Block input{scratch, shape.in}, upper{scratch + input.size(), shape.out};
  for_blocks(first, last, [&](std::int64_t begin, std::int64_t count) {
    for (std::int64_t t = 0; t < count; ++t) {
      const Place place = place_of(shape, begin + t);
      transform_input(x, shape, place, input, t);
      transform_gradient(grad, shape, place, upper, t);
    }
    for (std::int64_t p = 0; p < kPoints; ++p)
      for (std::int64_t i = 0; i < shape.in; i += kPanel)
        multiply_columns<2, /*kAdds=*/true>(LeftFactor<Left::kTurned>{upper.point(p), shape.out}, shape.out,
                                            {input.point(p) + i, shape.in}, count,
                                            {sums + p * shape.out * shape.in + i, shape.in});
  });
}

void winograd_weight_gradient(const float* sums, std::int64_t parts, std::int64_t in, std::int64_t out,
                              std::int64_t first, std::int64_t last, float* gradient) {
  const std::int64_t point = out * in, part_size = kPoints * point;
  const __m256 half = _mm256_set1_ps(0.5f);
  // Gᵀ s G, one dimension.
  const auto back = [half](__m256 a, __m256 b, __m256 c, __m256 d, __m256* to) {
    to[0] = a + half * (b + c), to[1] = half * (b - c), to[2] = half * (b + c) + d;
  };
  for (std::int64_t o = first; o < last; ++o)
    for (std::int64_t i = 0; i < in; i += kFloats) {
      __m256 sum[kPoints];
      for (std::int64_t p = 0; p < kPoints; ++p) {
        const float* at = sums + p * point + o * in + i;
        sum[p] = load(at);
        for (std::int64_t part = 1; part < parts; ++part) sum[p] += load(at + part * part_size);
      }
      __m256 columns[4][3], row[3];
      for (int j = 0; j < 4; ++j) back(sum[j], sum[4 + j], sum[8 + j], sum[12 + j], columns[j]);
      for (int a = 0; a < 3; ++a) {
        back(columns[0][a], columns[1][a], columns[2][a], columns[3][a], row);
        for (int b = 0; b < 3; ++b) store(row[b], gradient + ((o * 3 + a) * 3 + b) * in + i);
      }
    }
}

}  // namespace ekd

#include "kernels/conv/winograd_loops.h"

#include "kernels/conv/fp32_tile.h"
#include "kernels/cpu_loops.h"

namespace ekd {
namespace {

constexpr std::int64_t kPoints = kWinogradPoints, kPanel = 2 * kFloats;
static_assert(kWinogradChannels % kFloats == 0);
constexpr int kTile = kWinogradSide, kTaps = 3, kSide = kTile + kTaps - 1;
constexpr std::int64_t kApart = 16;  // keeps the numbers of the 36 points out of each other's cache sets
alignas(64) constexpr float kBeyond[kSide * kWinogradMostChannels] = {};  // read in place of pixels beyond the border

Vector load(const float* p) { return Vector::loadu(p); }
Vector all(float value) { return Vector(value); }
Vector multiply_add(float a, Vector b, Vector c) { return at::vec::fmadd(all(a), b, c); }     // a b + c
Vector minus_multiple(Vector c, float a, Vector b) { return at::vec::fmadd(all(-a), b, c); }  // c - a b
// max(x, 0); NaN stays NaN.
Vector rectify(Vector x) { return at::vec::clamp_min(x, Vector(0)); }

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
  const std::int64_t across = shape.width / kTile, down = shape.height / kTile;
  return {tile / (across * down), tile / across % down * kTile, tile % across * kTile};
}

std::int64_t offset_of(const WinogradShape& shape, const Place& place, std::int64_t channels) {
  return ((place.image * shape.height + place.row) * shape.width + place.column) * channels;
}

// The transforms of one dimension, at the points 0, ±a, ±b and infinity, in this order.
constexpr float kA = 0.70710678118654752f, kB = 1.41421356237309505f;  // a² = 1/2, b² = 2, a b = 1

// Bᵀ d: what polynomials that vanish at all points but one give.
void transform_input(const Vector (&d)[kSide], Vector (&to)[kSide]) {
  const Vector even_a = minus_multiple(d[4], 2, d[2]), odd_a = minus_multiple(d[3], 2, d[1]);
  const Vector even_b = minus_multiple(d[4], 0.5f, d[2]), odd_b = minus_multiple(d[3], 0.5f, d[1]);
  to[0] = minus_multiple(d[0] + d[4], 2.5f, d[2]);
  to[1] = multiply_add(kA, odd_a, even_a), to[2] = minus_multiple(even_a, kA, odd_a);
  to[3] = multiply_add(kB, odd_b, even_b), to[4] = minus_multiple(even_b, kB, odd_b);
  to[5] = minus_multiple(d[1] + d[5], 2.5f, d[3]);
}

// G g: the kernel as a polynomial, divided by the product of the point's distances from the others.
void transform_weight(const Vector (&g)[kTaps], Vector (&to)[kSide]) {
  const Vector even_a = all(-2.0f / 3) * multiply_add(0.5f, g[2], g[0]), odd_a = all(-2 * kA / 3) * g[1];
  const Vector even_b = all(1.0f / 6) * multiply_add(2, g[2], g[0]), odd_b = all(kB / 6) * g[1];
  to[0] = g[0], to[5] = g[2];
  to[1] = even_a + odd_a, to[2] = even_a - odd_a;
  to[3] = even_b + odd_b, to[4] = even_b - odd_b;
}

// Aᵀ m: the powers of the points.
void transform_back(const Vector (&m)[kSide], Vector (&to)[kTile]) {
  const Vector even_a = m[1] + m[2], odd_a = all(kA) * (m[1] - m[2]);
  const Vector even_b = m[3] + m[4], odd_b = all(kB) * (m[3] - m[4]);
  to[0] = m[0] + even_a + even_b;
  to[1] = odd_a + odd_b;
  to[2] = multiply_add(0.5f, even_a, even_b + even_b);
  to[3] = multiply_add(0.5f, odd_a, multiply_add(2, odd_b, m[5]));
}

// A y and Gᵀ s, which gradients of weights need: the transposed forms of the last two.
void transform_gradient(const Vector (&y)[kTile], Vector (&to)[kSide]) {
  const Vector even_a = multiply_add(0.5f, y[2], y[0]), odd_a = multiply_add(0.5f, y[3], y[1]);
  const Vector even_b = multiply_add(2, y[2], y[0]), odd_b = multiply_add(2, y[3], y[1]);
  to[0] = y[0], to[5] = y[3];
  to[1] = multiply_add(kA, odd_a, even_a), to[2] = minus_multiple(even_a, kA, odd_a);
  to[3] = multiply_add(kB, odd_b, even_b), to[4] = minus_multiple(even_b, kB, odd_b);
}

void transform_sums_back(const Vector (&s)[kSide], Vector (&to)[kTaps]) {
  const Vector even_a = all(-1.0f / 3) * (s[1] + s[2]), even_b = all(1.0f / 6) * (s[3] + s[4]);
  to[0] = multiply_add(2, even_a, s[0] + even_b);
  to[1] = multiply_add(-2 * kA / 3, s[1] - s[2], all(kB / 6) * (s[3] - s[4]));
  to[2] = multiply_add(2, even_b, s[5] + even_a);
}

// The same transform along both dimensions: read(column, numbers) gives a column, write(row, numbers) takes a row of
// the result. Not unrolled: a copy of the transform for each column would need more addresses than there are registers.
template <int kFrom, int kTo, class Read, class Write>
__attribute__((always_inline)) inline void transform_square(void (*transform)(const Vector (&)[kFrom], Vector (&)[kTo]),
                                                            const Read& read, const Write& write) {
  Vector half[kTo][kFrom], in[kFrom], out[kTo];
#pragma GCC unroll 1
  for (int column = 0; column < kFrom; ++column) {
    read(column, in);
    transform(in, out);
    for (int i = 0; i < kTo; ++i) half[i][column] = out[i];
  }
#pragma GCC unroll 1
  for (int row = 0; row < kTo; ++row) {
    transform(half[row], out);
    write(row, out);
  }
}

// What takes the place of x; pixels beyond the border stay 0.
struct AsItIs {
  Vector operator()(const float* x, bool /*inside*/, std::int64_t /*channel*/) const { return load(x); }
};
struct ScaledRelu {
  const float *scale, *shift;

  Vector operator()(const float* x, bool inside, std::int64_t channel) const {
    if (!inside) return Vector(0);
    return rectify(at::vec::fmadd(load(x), load(scale + channel), load(shift + channel)));
  }
};

template <class Activation>
void input_tile(const float* x, const WinogradShape& shape, const Place& place, const Activation& activation,
                Block block, std::int64_t tile) {
  const float* rows[kSide];
  for (int i = 0; i < kSide; ++i) {
    const Place at{place.image, place.row + i - 1, place.column - 1};
    rows[i] = at.row >= 0 && at.row < shape.height ? x + offset_of(shape, at, block.channels) : kBeyond;
  }
  // Columns of the tile that are columns of the image.
  const int begin = place.column == 0 ? 1 : 0, end = place.column + kTile == shape.width ? kSide - 1 : kSide;
  for (std::int64_t c = 0; c < block.channels; c += kFloats) {
    float* out = block.tile(tile) + c;
    transform_square<kSide, kSide>(
        transform_input,
        [&](int column, Vector(&d)[kSide]) {
          const bool inside = column >= begin && column < end;
          for (int i = 0; i < kSide; ++i)
            d[i] =
                activation(inside ? rows[i] + column * block.channels + c : kBeyond, inside && rows[i] != kBeyond, c);
        },
        [&](int, const Vector(&numbers)[kSide]) {
          for (const Vector number : numbers) number.store(out), out += block.stride();
        });
  }
}

void gradient_tile(const float* grad, const WinogradShape& shape, const Place& place, Block block, std::int64_t tile) {
  const float* corner = grad + offset_of(shape, place, block.channels);
  const std::int64_t row = shape.width * block.channels;
  for (std::int64_t c = 0; c < block.channels; c += kFloats) {
    float* out = block.tile(tile) + c;
    transform_square<kTile, kSide>(
        transform_gradient,
        [&](int column, Vector(&y)[kTile]) {
          for (int i = 0; i < kTile; ++i) y[i] = load(corner + i * row + column * block.channels + c);
        },
        [&](int, const Vector(&numbers)[kSide]) {
          for (const Vector number : numbers) number.store(out), out += block.stride();
        });
  }
}

enum class Ending { kNone, kResidual, kShiftRelu };

// The channels of the panel that begins at `first`: the last one may be narrower.
std::int64_t panel_width(std::int64_t first, std::int64_t channels) {
  return channels - first < kPanel ? channels - first : kPanel;
}

// multiply_columns for a panel of one or two vectors.
template <bool kAdds, Left kLeft>
void multiply_panel(LeftFactor<kLeft> left, std::int64_t rows, RightFactor right, std::int64_t inner, TileResult result,
                    std::int64_t width) {
  if (width == kPanel)
    multiply_columns<2, kAdds>(left, rows, right, inner, result);
  else
    multiply_columns<1, kAdds>(left, rows, right, inner, result);
}

// Transforms a block's channels, which are those of the result from `first` on, of a tile back and finishes them.
template <Ending kEnding>
void finish_panel(const WinogradConvolution& task, Block block, std::int64_t tile, const Place& place,
                  std::int64_t first) {
  const std::int64_t channels = task.shape.out, corner = offset_of(task.shape, place, channels) + first;
  for (std::int64_t c = 0; c < block.channels; c += kFloats) {
    const float* in = block.tile(tile) + c;
    transform_square<kSide, kTile>(
        transform_back,
        [&](int column, Vector(&m)[kSide]) {
          for (int i = 0; i < kSide; ++i) m[i] = load(in + (kSide * i + column) * block.stride());
        },
        [&](int row, const Vector(&y)[kTile]) {
          for (int j = 0; j < kTile; ++j) {
            const std::int64_t offset = corner + (row * task.shape.width + j) * channels + c;
            Vector value = y[j];
            if constexpr (kEnding == Ending::kResidual) value = value + load(task.residual + offset);
            if constexpr (kEnding == Ending::kShiftRelu) value = rectify(value + load(task.shift + first + c));
            value.store(task.y + offset);
          }
        });
  }
}

using Finish = void (*)(const WinogradConvolution&, Block, std::int64_t, const Place&, std::int64_t);

Finish finish_for(const WinogradConvolution& task) {
  if (task.shift) return finish_panel<Ending::kShiftRelu>;
  return task.residual ? finish_panel<Ending::kResidual> : finish_panel<Ending::kNone>;
}

// Between the points of a weight's sums.
std::int64_t sums_stride(std::int64_t in, std::int64_t out) { return out * in + kApart; }

template <class Work>
void for_blocks(std::int64_t first, std::int64_t last, const Work& work) {
  for (; first < last; first += kWinogradBlock)
    work(first, last - first < kWinogradBlock ? last - first : kWinogradBlock);
}

// kernel(o, i, row, column) gives the weights of a vector of output channels from o on; i counts the input's.
template <class Kernel>
void transform_weights(const WinogradChannels& channels, float* transformed, const Kernel& kernel) {
  for (std::int64_t o = channels.first; o < channels.last; o += kFloats) {
    const std::int64_t panel = o / kPanel * kPanel, width = panel_width(panel, channels.out);
    for (std::int64_t i = 0; i < channels.in; ++i) {
      float* to = transformed + panel * kPoints * channels.in + i * width + o - panel;
      transform_square<kTaps, kSide>(
          transform_weight,
          [&](int column, Vector(&g)[kTaps]) {
            for (int row = 0; row < kTaps; ++row) g[row] = kernel(o, i, row, column);
          },
          [&](int, const Vector(&numbers)[kSide]) {
            for (const Vector number : numbers) number.store(to), to += channels.in * width;
          });
    }
  }
}

std::int64_t sums_size(std::int64_t in, std::int64_t out) { return kPoints * sums_stride(in, out); }

std::int64_t scratch_size(const WinogradShape& shape) {
  return Block{nullptr, shape.in}.size() + Block{nullptr, shape.out}.size();
}

void forward_weights(const float* weight, const float* scale, const WinogradChannels& channels, float* transformed) {
  const std::int64_t in = channels.in;
  transform_weights(channels, transformed, [=](std::int64_t o, std::int64_t i, int row, int column) {
    float weights[kFloats];
    for (std::int64_t lane = 0; lane < kFloats; ++lane)
      weights[lane] = weight[(((o + lane) * 3 + row) * 3 + column) * in + i];
    return scale ? load(weights) * load(scale + o) : load(weights);
  });
}

void backward_weights(const float* weight, const WinogradChannels& channels, float* transformed) {
  transform_weights(channels, transformed, [=](std::int64_t o, std::int64_t i, int row, int column) {
    return load(weight + ((i * 3 + 2 - row) * 3 + 2 - column) * channels.out + o);
  });
}

void convolve(const WinogradConvolution& task, std::int64_t first, std::int64_t last, float* scratch) {
  const WinogradShape& shape = task.shape;
  const Block input{scratch, shape.in};
  const Finish finish = finish_for(task);
  for_blocks(first, last, [&](std::int64_t begin, std::int64_t count) {
    for (std::int64_t t = 0; t < count; ++t) {
      const Place place = place_of(shape, begin + t);
      if (task.x_scale)
        input_tile(task.x, shape, place, ScaledRelu{task.x_scale, task.x_shift}, input, t);
      else
        input_tile(task.x, shape, place, AsItIs{}, input, t);
    }
    for (std::int64_t o = 0; o < shape.out; o += kPanel) {
      const std::int64_t width = panel_width(o, shape.out);
      const Block product{scratch + input.size(), width};
      for (std::int64_t p = 0; p < kPoints; ++p)
        multiply_panel</*kAdds=*/false>(LeftFactor<Left::kRows>{input.point(p), shape.in}, count,
                                        {task.weight + (o * kPoints + p * width) * shape.in, width}, shape.in,
                                        {product.point(p), width}, width);
      for (std::int64_t t = 0; t < count; ++t) finish(task, product, t, place_of(shape, begin + t), o);
    }
  });
}

void weight_sums(const float* x, const float* grad, const WinogradShape& shape, std::int64_t first, std::int64_t last,
                 float* sums, float* scratch) {
  const Block input{scratch, shape.in}, upper{scratch + input.size(), shape.out};
  for_blocks(first, last, [&](std::int64_t begin, std::int64_t count) {
    for (std::int64_t t = 0; t < count; ++t) {
      const Place place = place_of(shape, begin + t);
      input_tile(x, shape, place, AsItIs{}, input, t);
      gradient_tile(grad, shape, place, upper, t);
    }
    for (std::int64_t p = 0; p < kPoints; ++p)
      for (std::int64_t i = 0; i < shape.in; i += kPanel) {
        const LeftFactor<Left::kTurned> left{upper.point(p), shape.out};
        const RightFactor right{input.point(p) + i, shape.in};
        const TileResult result{sums + p * sums_stride(shape.in, shape.out) + i, shape.in};
        const std::int64_t width = panel_width(i, shape.in);
        if (begin == first)
          multiply_panel</*kAdds=*/false>(left, shape.out, right, count, result, width);
        else
          multiply_panel</*kAdds=*/true>(left, shape.out, right, count, result, width);
      }
  });
}

void weight_gradient(const float* sums, std::int64_t parts, std::int64_t in, std::int64_t out, std::int64_t first,
                     std::int64_t last, float* gradient) {
  const std::int64_t point = sums_stride(in, out), part_size = sums_size(in, out);
  for (std::int64_t o = first; o < last; ++o)
    for (std::int64_t i = 0; i < in; i += kFloats)
      transform_square<kSide, kTaps>(
          transform_sums_back,
          [&](int column, Vector(&s)[kSide]) {
            for (int row = 0; row < kSide; ++row) {
              const float* at = sums + (kSide * row + column) * point + o * in + i;
              s[row] = load(at);
              for (std::int64_t part = 1; part < parts; ++part) s[row] = s[row] + load(at + part * part_size);
            }
          },
          [&](int row, const Vector(&numbers)[kTaps]) {
            for (int column = 0; column < kTaps; ++column)
              numbers[column].store(gradient + ((o * 3 + row) * 3 + column) * in + i);
          });
}

}  // namespace

extern const WinogradLoops EKD_TABLE(kWinograd){sums_size, scratch_size, forward_weights, backward_weights,
                                                convolve,  weight_sums,  weight_gradient};

}  // namespace ekd

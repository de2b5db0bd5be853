// The loops of Winograd's convolutions (kernels/conv.h) over raw memory (src/kernels/simd/winograd_fp32.cpp).
//
// A tile is 4×4 numbers of the result; it depends on 6×6 of the input, whose transform has 36 numbers, one for each
// pair of interpolation points. Transformed tensors lie as [36][tiles][channels];
// transformed weights as [out / 16][36][in][16].
#pragma once

#include <cstdint>

namespace ekd {

constexpr std::int64_t kWinogradSide = 4;  // of a tile
constexpr std::int64_t kWinogradPoints = 36;
constexpr std::int64_t kWinogradBlock = 24;     // tiles that are transformed, multiplied and transformed back at a time
constexpr std::int64_t kWinogradChannels = 16;  // every number of channels is a multiple of it
constexpr std::int64_t kWinogradMostChannels = 1024;

// Images [images, height, width, channels]; height and width are multiples of 4.
struct WinogradShape {
  std::int64_t images, height, width, in, out;

  std::int64_t tiles() const { return images * (height / kWinogradSide) * (width / kWinogradSide); }
  WinogradShape turned() const { return {images, height, width, out, in}; }
};

// Floats that the functions below need for themselves, for each thread.
std::int64_t winograd_scratch(const WinogradShape& shape);

// From weights [out][3][3][in], each output channel times `scale` (null: 1), the panels of 16 channels from `first` to
// `last` of the transformed ones: of the forward convolution, or of the one that carries gradients back, whose input
// channels are `out`.
void winograd_forward_weights(const float* weight, const float* scale, std::int64_t in, std::int64_t first,
                              std::int64_t last, float* transformed);
void winograd_backward_weights(const float* weight, std::int64_t in, std::int64_t out, std::int64_t first,
                               std::int64_t last, float* transformed);

// y = the convolution of x, or of max(x · x_scale + x_shift, 0) where those are not null; plus `residual`, where it is
// not null; or, where `shift` is not null, max(convolution + shift, 0).
struct WinogradConvolution {
  WinogradShape shape;
  const float* x;
  const float *x_scale = nullptr, *x_shift = nullptr;  // [in]
  const float* weight;                                 // transformed
  const float* residual = nullptr;                     // like y, which it may be
  const float* shift = nullptr;                        // [out]; not with a residual
  float* y;
};
// The tiles from `first` to `last`.
void winograd_convolve(const WinogradConvolution& task, std::int64_t first, std::int64_t last, float* scratch);

// Floats of the sums over some tiles that a weight's gradient is made from.
std::int64_t winograd_sums(std::int64_t in, std::int64_t out);

// sums = what the tiles from `first` to `last`, at least one, say about the weights, for grad [images, height, width,
// out].
void winograd_weight_sums(const float* x, const float* grad, const WinogradShape& shape, std::int64_t first,
                          std::int64_t last, float* sums, float* scratch);

// The gradient [out][3][3][in] of the output channels from `first` to `last`, from `parts` sums one after another.
void winograd_weight_gradient(const float* sums, std::int64_t parts, std::int64_t in, std::int64_t out,
                              std::int64_t first, std::int64_t last, float* gradient);

}  // namespace ekd

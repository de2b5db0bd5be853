// The loops of Winograd's convolutions (kernels/conv.h) over raw memory (src/kernels/simd/winograd_loops.cpp): one
// table for each instruction set.
//
// A tile is 4×4 numbers of the result; it depends on 6×6 of the input, whose transform has 36 numbers, one for each
// pair of interpolation points. Transformed tensors lie as [36][tiles][channels]; transformed weights in
// panels of two vectors of output channels, or of one where no more are left: [panel][36][in][channels of the panel].
// The plain loops are there so that the table is whole; no CPU uses them (winograd_takes).
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

// The output channels [first, last), in multiples of kWinogradChannels, of weights with `in` and `out` channels.
struct WinogradChannels {
  std::int64_t in, out, first, last;
};

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

struct WinogradLoops {
  // Floats of the sums over some tiles that a weight's gradient is made from.
  std::int64_t (*sums_size)(std::int64_t in, std::int64_t out);

  // Floats that the functions below need for themselves, for each thread.
  std::int64_t (*scratch_size)(const WinogradShape& shape);

  // From weights [out][3][3][in], each output channel times `scale` (null: 1), the transformed ones of the forward
  // convolution.
  void (*forward_weights)(const float* weight, const float* scale, const WinogradChannels& channels,
                          float* transformed);

  // From weights [in][3][3][out] those of the convolution that carries gradients back, from their `in` channels to
  // their `out`.
  void (*backward_weights)(const float* weight, const WinogradChannels& channels, float* transformed);

  // The tiles from `first` to `last`.
  void (*convolve)(const WinogradConvolution& task, std::int64_t first, std::int64_t last, float* scratch);

  // sums = what the tiles from `first` to `last`, at least one, say about the weights, for grad [images, height, width,
  // out].
  void (*weight_sums)(const float* x, const float* grad, const WinogradShape& shape, std::int64_t first,
                      std::int64_t last, float* sums, float* scratch);

  // The gradient [out][3][3][in] of the output channels from `first` to `last`, from `parts` sums one after another.
  void (*weight_gradient)(const float* sums, std::int64_t parts, std::int64_t in, std::int64_t out, std::int64_t first,
                          std::int64_t last, float* gradient);
};

extern const WinogradLoops kWinogradPlain;
#ifdef EKD_X86_KERNELS
extern const WinogradLoops kWinogradAvx2;
extern const WinogradLoops kWinogradAvx512;
#endif

}  // namespace ekd

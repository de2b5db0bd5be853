// Operations on the CPU that LibTorch computes slowly: 3×3 depthwise convolutions and ShuffleNet's shuffle of channels,
// grouped 1×1 convolutions, and 3×3 ones in float32.
#pragma once

#include <ATen/core/Tensor.h>

namespace ekd {

// 3×3 depthwise convolutions, padded by 1, stride 1 or 2, on the CPU: LibTorch's backward for them runs at a fraction
// of the speed of memory.

// Whether the kernels take x [N, C, H, W] and stride: float32 or bfloat16 in channels_last layout, C >= 32, sides that
// the stride divides.
bool depthwise_takes(const at::Tensor& x, std::int64_t stride);

// weight: float32 [C, 1, 3, 3]. Returns [N, C, H / stride, W / stride], dtype and layout of x; sums are float32.
at::Tensor depthwise_forward(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride);

struct DepthwiseGradients {
  at::Tensor x, weight;
};

// grad like the forward's result.
DepthwiseGradients depthwise_backward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                                      std::int64_t stride);

// The shuffle of ShuffleNet's channels, moving whole vectors where LibTorch moves single numbers.

// Whether the kernel takes x [N, C, H, W]: numbers of two or four bytes in channels_last layout, on the CPU.
bool shuffle_by_groups_takes(const at::Tensor& x);

// Reads the channels as [groups, C / groups] and writes them as [C / groups, groups]; `groups` divides C. The shuffle
// by C / groups turns it back.
at::Tensor shuffle_by_groups(const at::Tensor& x, std::int64_t groups);

// Grouped 1×1 convolutions, in bfloat16 on CPUs with AVX-512 BF16 and in float32 on CPUs with AVX2 or AVX-512: a matrix
// product for each group over the tensor as it lies, where LibTorch's backward runs several times off the arithmetic
// limit.

// Whether the kernels take x [N, C, H, W], in channels_last layout, and a weight [out, C / groups, 1, 1]: bfloat16 with
// an even number of channels in and out of each group, or float32, on a CPU that has the instructions
// (ATEN_CPU_CAPABILITY can hide them).
bool pointwise_takes(const at::Tensor& x, const at::Tensor& weight, std::int64_t groups);

// weight: float32, rounded to x's numbers for the product; sums are float32. Returns [N, out, H, W] like x.
at::Tensor pointwise_forward(const at::Tensor& x, const at::Tensor& weight, std::int64_t groups);

struct PointwiseGradients {
  at::Tensor x;       // undefined where it was not asked for
  at::Tensor weight;  // float32
};

// grad like the forward's result. Sums are taken in an order that depends on the shape only: the same bits for any
// number of threads.
PointwiseGradients pointwise_backward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                                      std::int64_t groups, bool wants_x);

// 3×3 convolutions in float32 on CPUs with AVX2 or AVX-512: Winograd's minimal filtering F(4×4, 3×3), which needs 36
// multiplications where the sum over taps needs 144, for the result and for both gradients. Lavin and Gray, "Fast
// algorithms for convolutional neural networks", CVPR 2016. At the interpolation points 0, ±1/√2, ±√2 and infinity
// rounding errors stay within twice the direct sum's; at the usual 0, ±1, ±2 and infinity they are several times
// larger.

// Whether the kernels take x [N, C, H, W] and a weight [out, C, 3, 3] at stride 1, padded by 1: float32, x in
// channels_last layout, H and W multiples of 4, channels multiples of 16, and a CPU that has the instructions.
bool winograd_takes(const at::Tensor& x, const at::Tensor& weight);

// Adds `residual`, like the result, where it is defined.
at::Tensor winograd_forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& residual = {});

// sum += the convolution; sum like the result, in channels_last layout. Not differentiable.
void winograd_add_to(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& weight);

// One number for each channel: float32 [C], contiguous.
struct ChannelScaleShift {
  at::Tensor scale, shift;
};

// max(convolution · after.scale + after.shift, 0), of x or, where `before` is not null, of max(x · before->scale +
// before->shift, 0).
at::Tensor winograd_relu(const at::Tensor& x, const at::Tensor& weight, const ChannelScaleShift& after,
                         const ChannelScaleShift* before = nullptr);

struct WinogradGradients {
  at::Tensor x;       // undefined where it was not asked for
  at::Tensor weight;  // like the weight, in channels_last layout
};

// grad like the forward's result. Sums are taken in an order that depends on the shape only: the same bits for any
// number of threads.
WinogradGradients winograd_backward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                                    bool wants_x);

}  // namespace ekd

// 3×3 convolutions in float32 on CPUs with AVX2: Winograd's minimal filtering F(4×4, 3×3), which needs 36
// multiplications where the sum over taps needs 144, for the result and for both gradients. Lavin and Gray, "Fast
// algorithms for convolutional neural networks", CVPR 2016. At the interpolation points 0, ±1/√2, ±√2 and infinity
// rounding errors stay within twice the direct sum's; at the usual 0, ±1, ±2 and infinity they are several times
// larger.
#pragma once

#include <ATen/core/Tensor.h>

namespace ekd {

// Whether the kernels take x [N, C, H, W] and a weight [out, C, 3, 3] at stride 1, padded by 1: float32, x in
// channels_last layout, H and W multiples of 4, channels multiples of 16, and a CPU for which LibTorch's own kernels
// are AVX2 ones.
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

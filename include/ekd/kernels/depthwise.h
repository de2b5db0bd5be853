// 3×3 depthwise convolutions, padded by 1, stride 1 or 2, on the CPU: LibTorch's backward for them runs at a fraction
// of the speed of memory.
#pragma once

#include <ATen/core/Tensor.h>

namespace ekd {

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

}  // namespace ekd

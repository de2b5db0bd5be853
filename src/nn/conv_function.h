// Differentiable convolutions: ekd's kernels for those that LibTorch is slow at, its own operation for all others.
#pragma once

#include <ATen/core/Tensor.h>

namespace ekd {

// x [N, C, H, W], weight float32 [out, C / groups, k, k] with k odd; padded by k / 2. Under autocast it computes in
// bfloat16.
at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t groups);

// convolution + residual, which has the result's shape. With gradients off the sum may be written over the residual
// where the caller hands over the only handle to it.
at::Tensor convolution_plus(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t groups,
                            at::Tensor residual);

// Whether kernels/winograd.h computes it.
bool is_winograd(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t groups);

}  // namespace ekd

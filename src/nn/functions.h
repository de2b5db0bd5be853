// The operations of the layers: ekd's own kernels where they take the tensors, with their gradients, and LibTorch's
// operations elsewhere.
#pragma once

#include <ATen/core/Tensor.h>

#include "ekd/kernels/bn_relu.h"
#include "ekd/kernels/conv.h"

namespace ekd {

// max(normalised x + residual, 0), by batch statistics where `training` (moving the running ones), else by the running
// ones. x [N, C, H, W]; residual undefined or like x.
at::Tensor batch_norm_relu(const at::Tensor& x, const at::Tensor& residual, const BnParameters& parameters,
                           const BnRunning& running, bool training);

// x [N, C, H, W], weight float32 [out, C / groups, k, k] with k odd; padded by k / 2. Under autocast it computes in
// bfloat16.
at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t groups);

// convolution + residual, which has the result's shape. With gradients off the sum may be written over the residual
// where the caller hands over the only handle to it.
at::Tensor convolution_plus(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t groups,
                            at::Tensor residual);

// Whether Winograd's algorithm computes it (kernels/conv.h).
bool is_winograd(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t groups);

// Convolutions for evaluation on the CPU with the batch normalisations around them, each followed by ReLU, done by the
// same kernel. (Folding the addition after a block's last convolution as well was measured slower.)

// Whether there is a kernel for that, with gradients off on a CPU: of oneDNN for bfloat16, of ekd for float32 that is
// computed by Winograd's algorithm.
bool folds_convolution(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t groups);

// Whether it takes the normalisation before the convolution along as well.
bool folds_input(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t groups);

// Normalisation by running statistics as one multiplication and one addition.
ChannelScaleShift folded_bn(const BnParameters& parameters, const BnRunning& running);

// max(normalised convolution, 0): the scale of `after` goes into the weights, its shift is a bias. `before`, where it
// is not null, is done to x first, with ReLU. weight float32 [out, in, k, k], padded by k / 2.
at::Tensor conv_bn_relu_folded(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride,
                               const ChannelScaleShift& after, const ChannelScaleShift* before = nullptr);

// x; `parameter` gets a gradient of 0.
at::Tensor with_idle(const at::Tensor& x, const at::Tensor& parameter);

// shuffle_by_groups of an x that it takes, with its gradient.
at::Tensor differentiable_shuffle(const at::Tensor& x, std::int64_t groups);

}  // namespace ekd

// Convolutions for evaluation on the CPU with the batch normalisations around them, each followed by ReLU, done by the
// same kernel. (Folding the addition after a block's last convolution as well was measured slower.)
#pragma once

#include "ekd/kernels/bn_relu.h"
#include "ekd/kernels/winograd.h"

namespace ekd {

// Whether there is such a kernel, with gradients off on a CPU: of oneDNN for bfloat16, of ekd for float32 that is
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

}  // namespace ekd

// Convolutions for evaluation on the CPU with the batch normalisation folded into the weights and ReLU done by the same
// kernel. (Folding the addition after a block's last convolution as well was measured slower.)
#pragma once

#include "ekd/kernels/bn_relu.h"

namespace ekd {

// Whether there is such a kernel, with gradients off on a CPU: of oneDNN for bfloat16, of ekd for float32 that is
// computed by Winograd's algorithm.
bool folds_convolution(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t groups);

// max(normalised convolution, 0) by running statistics: the scale goes into the weights, the rest is a bias. weight
// float32 [out, in, k, k], padded by k / 2.
at::Tensor conv_bn_relu_folded(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride,
                               const BnParameters& parameters, const BnRunning& running);

}  // namespace ekd

// Convolutions for evaluation on the CPU with the batch normalisation folded into the weights and ReLU done by the same
// kernel. (Folding the addition after a block's last convolution as well was measured slower.)
#pragma once

#include "ekd/kernels/bn_relu.h"

namespace ekd {

// Whether it takes x: bfloat16 on a CPU, with gradients off and LibTorch's oneDNN there.
bool folds_convolutions(const at::Tensor& x);

// max(normalised convolution, 0) by running statistics: the scale goes into the weights, the rest is a bias. weight
// float32 [out, in, k, k], padded by k / 2.
at::Tensor conv_bn_relu_folded(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride,
                               const BnParameters& parameters, const BnRunning& running);

}  // namespace ekd

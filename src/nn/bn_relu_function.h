// Differentiable batch normalisation, addition and ReLU: the fused kernels where they take the tensors, LibTorch's own
// operations elsewhere.
#pragma once

#include "ekd/kernels/bn_relu.h"

namespace ekd {

// max(normalised x + residual, 0), by batch statistics where `training` (moving the running ones), else by the running
// ones. x [N, C, H, W]; residual undefined or like x.
at::Tensor batch_norm_relu(const at::Tensor& x, const at::Tensor& residual, const BnParameters& parameters,
                           const BnRunning& running, bool training);

}  // namespace ekd

// Losses whose gradient is worked out together with them.
#pragma once

#include "ekd/kernels/row_losses.h"

namespace ekd {

// The loss's value, differentiable in `logits`, to which its gradient belongs, and in nothing else.
at::Tensor with_gradient(const at::Tensor& logits, const RowLoss& loss);

}  // namespace ekd

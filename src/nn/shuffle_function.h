// The channel shuffle with its gradient, by ekd's kernel.
#pragma once

#include <ATen/core/Tensor.h>

namespace ekd {

// kernels/channel_shuffle.h; x is one that it takes.
at::Tensor differentiable_shuffle(const at::Tensor& x, std::int64_t groups);

}  // namespace ekd

// Exponentials near 1: at high temperatures probabilities differ from each other by less than float32 keeps of them,
// and what is left of a difference of two is rounding. So the differences are computed themselves. Nothing here is
// differentiable.
#pragma once

#include <ATen/core/Tensor.h>

namespace ekd {

// e^x − 1 − x to the dtype's relative precision, for |x| ≤ 1; elsewhere it means nothing.
at::Tensor exp_remainder(const at::Tensor& x);

// log of the mean of e^x over a dimension, which is kept with size 1; with relative precision where all x are near 0.
at::Tensor log_mean_exp(const at::Tensor& x, std::int64_t dim);

}  // namespace ekd

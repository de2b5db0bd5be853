#include "losses/exponentials.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log1p.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/where.h>

#include <cmath>

namespace ekd {

// x²/2 · (1 + x/3 · (1 + x/4 · …)); the first term that is left out is below 2 / (last + 1)! of the whole.
at::Tensor exp_remainder(const at::Tensor& x) {
  const int last = x.scalar_type() == at::kDouble ? 19 : 11;
  at::Tensor series = x / last + 1;
  for (int n = last - 1; n >= 3; --n) series.mul_(x).div_(n).add_(1);
  return series.mul_(x).mul_(x).div_(2);
}

// With m the mean of x, the mean of e^(x − m) is 1 + the mean of e^(x − m) − 1 − (x − m), whose terms are all positive.
at::Tensor log_mean_exp(const at::Tensor& x, std::int64_t dim) {
  const at::Tensor mean = x.mean(dim, /*keepdim=*/true), rest = x - mean;
  const at::Tensor near = mean + exp_remainder(rest).mean(dim, /*keepdim=*/true).log1p();
  const at::Tensor far = at::logsumexp(x, dim, /*keepdim=*/true) - std::log(static_cast<double>(x.size(dim)));
  return at::where(rest.abs().amax(dim, /*keepdim=*/true) <= 1, near, far);
}

}  // namespace ekd

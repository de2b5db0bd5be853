// Temperature scaling. Guo et al., "On calibration of modern neural networks", ICML 2017.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace ekd {

struct TemperatureFit {
  double temperature = 1;
  double nll = 0;                                                   // on the samples it was fitted on
  enum class Bound { kNone, kLower, kUpper } bound = Bound::kNone;  // the end of the search that it lies at
};

// The search follows the logits' scale: with the spread of a row its largest less its smallest finite logit, T goes
// from the smallest spread (that is not 0) over this to the largest times this. The NLL has its minimum at an end where
// there is none inside: at the lower one when every sample is right, at the upper one when the logits are no better
// than chance.
inline constexpr double kTemperatureReach = 1e4;

// The T in these bounds that minimises the NLL of softmax(logits / T), by a bracketed search on log T to a relative
// 1e-9; 1 where the NLL does not depend on T. logits [N, classes] of any floating dtype
// (log-probabilities serve as well), labels int64 [N], N ≥ 1. Throws NonFiniteError for logits that are NaN or +∞, or
// where a label's logit is -∞: no T helps there.
TemperatureFit fit_temperature(const at::Tensor& logits, const at::Tensor& labels);

// What to tell people of a fit that lies at a bound; empty where it does not.
std::string bound_warning(const TemperatureFit& fit);

}  // namespace ekd

// Temperature scaling. Guo et al., "On calibration of modern neural networks", ICML 2017.
#pragma once

#include <ATen/core/Tensor.h>

namespace ekd {

struct TemperatureFit {
  double temperature = 1;
  double nll = 0;  // on the samples it was fitted on
};

// The search looks no further. The NLL has its minimum at an end where there is none inside: at the lower one when
// every sample is right, at the upper one when the logits are worse than chance.
inline constexpr double kMinTemperature = 1e-2;
inline constexpr double kMaxTemperature = 1e3;

// The T in [kMinTemperature, kMaxTemperature] that minimises the NLL of softmax(logits / T), by a bracketed search on
// log T to a relative 1e-9; 1 where the NLL does not depend on T. logits [N, classes] of any floating dtype
// (log-probabilities serve as well), labels int64 [N], N ≥ 1. Throws NonFiniteError for logits that are NaN or +∞, or
// where a label's logit is -∞: no T helps there.
TemperatureFit fit_temperature(const at::Tensor& logits, const at::Tensor& labels);

}  // namespace ekd

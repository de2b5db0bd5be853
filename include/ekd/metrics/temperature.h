// Temperature scaling. Guo et al., "On calibration of modern neural networks", ICML 2017.
#pragma once

#include <ATen/core/Tensor.h>

namespace ekd {

struct TemperatureFit {
  double temperature = 1;
  double nll = 0;  // on the samples it was fitted on
};

// The T > 0 that minimises the NLL of softmax(logits / T), by a bracketed search on log T. logits [N, classes] of any
// floating dtype (log-probabilities serve as well), labels int64 [N].
TemperatureFit fit_temperature(const at::Tensor& logits, const at::Tensor& labels);

}  // namespace ekd

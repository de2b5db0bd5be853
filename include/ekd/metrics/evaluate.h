// Every metric of one set of predictions.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "ekd/metrics/metrics.h"

namespace ekd {

// log softmax(logits / temperature) in double: [N, classes].
at::Tensor log_probabilities(const at::Tensor& logits, double temperature = 1);

// log(Σ wₖ pₖ / Σ wₖ) of members' log-probabilities (double [N, classes] each); weights are not negative, one positive.
at::Tensor ensemble_log_probabilities(const std::vector<at::Tensor>& members, const std::vector<double>& weights);

// log_probs double [N, classes] on the CPU, labels int64 [N], N ≥ 1; `bins` are the numbers of bins to report.
Metrics compute_metrics(const at::Tensor& log_probs, const at::Tensor& labels, const std::vector<int>& bins);

// By metric, for those that are means over images, a number for each image. log_probs, labels as above.
std::map<std::string, std::vector<double>> image_scores(const at::Tensor& log_probs, const at::Tensor& labels);

}  // namespace ekd

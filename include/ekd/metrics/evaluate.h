// Every metric of one set of predictions.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "ekd/metrics/calibration.h"
#include "ekd/metrics/metrics.h"

namespace ekd {

// Logits of any floating dtype as metrics take them: double [N, classes] on the CPU, less each row's maximum, which
// changes no probability, over the temperature.
at::Tensor scaled_logits(const at::Tensor& logits, double temperature = 1);

// softmax of such logits. Of k equal ones and no others each is exactly the double nearest to 1/k, and rows that hold
// the same logits in another order have the same probabilities: what is equal stays equal, what is on a bin's edge
// stays on it.
at::Tensor probabilities(const at::Tensor& logits);

// log softmax(logits / temperature) in double: [N, classes].
at::Tensor log_probabilities(const at::Tensor& logits, double temperature = 1);

// log(Σ wₖ pₖ / Σ wₖ) of members' log-probabilities (double [N, classes] each); weights are not negative, one positive.
at::Tensor ensemble_log_probabilities(const std::vector<at::Tensor>& members, const std::vector<double>& weights);

// logits double [N, classes] on the CPU (log-probabilities serve as well), labels int64 [N], N ≥ 1; `bins` are the
// numbers of bins to report.
Metrics compute_metrics(const at::Tensor& logits, const at::Tensor& labels, const std::vector<int>& bins);

// By metric, for those that are means over images, a number for each image. logits, labels as above.
std::map<std::string, std::vector<double>> image_scores(const at::Tensor& logits, const at::Tensor& labels);

// The confidences and hits that the metrics are made of. Logits decide what is a hit: two of them may differ where
// their probabilities are the same double. logits, labels as above.
Top1 top1_of_logits(const at::Tensor& logits, const at::Tensor& labels);

}  // namespace ekd

// What each image adds to the metrics that are means over images.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

namespace ekd {

// By metric ("accuracy", "top5", "nll", "brier", "mean_confidence") a number for each image; the mean over images is
// what compute_metrics says. An NLL may be infinite. log_probs double [N, classes] on the CPU, labels int64 [N].
std::map<std::string, std::vector<double>> image_scores(const at::Tensor& log_probs, const at::Tensor& labels);

}  // namespace ekd

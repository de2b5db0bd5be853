#include "ekd/metrics/evaluate.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ekd/core/error.h"
#include "ekd/metrics/calibration.h"
#include "ekd/metrics/risk_coverage.h"

namespace ekd {
namespace {

void check(const at::Tensor& log_probs, const at::Tensor& labels) {
  TORCH_CHECK(log_probs.dim() == 2 && log_probs.size(0) >= 1 && log_probs.size(1) >= 1 &&
                  log_probs.scalar_type() == at::kDouble && log_probs.is_cpu(),
              "metrics need double log-probabilities [N, classes] on the CPU, not ", log_probs.toString(),
              log_probs.sizes());
  TORCH_CHECK(labels.dim() == 1 && labels.size(0) == log_probs.size(0) && labels.scalar_type() == at::kLong,
              "metrics need int64 labels [", log_probs.size(0), "], not ", labels.toString(), labels.sizes());
}

// Of one sample: how many classes come before the label's; of equal ones the lower class comes first.
std::int64_t rank_of(std::int64_t label, const double* row, std::int64_t classes) {
  std::int64_t rank = 0;
  for (std::int64_t k = 0; k < classes; ++k) rank += row[k] > row[label] || (row[k] == row[label] && k < label);
  return rank;
}

double squared_error(std::int64_t label, const double* probs, std::int64_t classes) {
  double sum = 0;
  for (std::int64_t k = 0; k < classes; ++k) sum += probs[k] * probs[k];
  return sum - probs[label] * probs[label] + (1 - probs[label]) * (1 - probs[label]);
}

// Fills accuracy, top5, NLL, Brier and mean confidence; returns the samples' outcomes.
Top1 score_samples(const at::Tensor& log_probs, const at::Tensor& probs, const std::int64_t* labels, Metrics& metrics) {
  const auto classes = log_probs.size(1);
  Top1 samples;
  samples.confidences.reserve(metrics.n);
  samples.hits.reserve(metrics.n);
  for (std::int64_t i = 0; i < metrics.n; ++i) {
    const double* row = log_probs.const_data_ptr<double>() + i * classes;
    const double* p = probs.const_data_ptr<double>() + i * classes;
    const auto label = labels[i];
    TORCH_CHECK(label >= 0 && label < classes, "label ", label, " of sample ", i, " is not in [0, ", classes, ")");
    const auto rank = rank_of(label, row, classes);
    metrics.accuracy += rank == 0;
    metrics.top5 += rank < 5;
    metrics.nll -= row[label];
    metrics.brier += squared_error(label, p, classes);
    samples.confidences.push_back(*std::max_element(p, p + classes));
    samples.hits.push_back(rank == 0);
    metrics.mean_confidence += samples.confidences.back();
  }
  for (double* sum : {&metrics.accuracy, &metrics.top5, &metrics.nll, &metrics.brier, &metrics.mean_confidence}) {
    *sum /= static_cast<double>(metrics.n);
  }
  return samples;
}

// So that the adaptive error, asked for at several numbers of bins, sorts once.
Top1 in_ascending_order(const Top1& samples) {
  std::vector<std::size_t> order(samples.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return samples.confidences[a] < samples.confidences[b]; });
  Top1 sorted;
  for (const auto i : order) {
    sorted.confidences.push_back(samples.confidences[i]);
    sorted.hits.push_back(samples.hits[i]);
  }
  return sorted;
}

}  // namespace

at::Tensor log_probabilities(const at::Tensor& logits, double temperature) {
  TORCH_CHECK(logits.dim() == 2, "logits are [N, classes], not ", logits.sizes());
  TORCH_CHECK(temperature > 0, "a temperature is positive, not ", temperature);
  return at::log_softmax(logits.detach().to(at::kCPU).to(at::kDouble) / temperature, 1);
}

at::Tensor ensemble_log_probabilities(const std::vector<at::Tensor>& members, const std::vector<double>& weights) {
  TORCH_CHECK(!members.empty() && members.size() == weights.size(), "an ensemble of ", members.size(), " members has ",
              weights.size(), " weights");
  double total = 0;
  for (const double weight : weights) {
    TORCH_CHECK(weight >= 0 && std::isfinite(weight), "an ensemble's weight is finite and not negative, not ", weight);
    total += weight;
  }
  TORCH_CHECK(total > 0, "an ensemble needs a positive weight");
  std::vector<at::Tensor> terms;
  for (std::size_t k = 0; k < members.size(); ++k) {
    TORCH_CHECK(members[k].sizes() == members[0].sizes(), "ensemble members disagree: ", members[0].sizes(), " and ",
                members[k].sizes());
    if (weights[k] > 0) terms.push_back(members[k] + std::log(weights[k] / total));
  }
  return at::logsumexp(at::stack(terms), 0);
}

Metrics compute_metrics(const at::Tensor& log_probs, const at::Tensor& labels, const std::vector<int>& bins) {
  check(log_probs, labels);
  if (log_probs.isnan().any().item<bool>()) throw NonFiniteError("the predictions hold numbers that are not finite");
  const at::Tensor rows = log_probs.detach().contiguous();
  const at::Tensor probs = rows.exp();
  const at::Tensor truth = labels.to(at::kCPU).contiguous();
  Metrics metrics;
  metrics.n = rows.size(0);
  const Top1 samples = score_samples(rows, probs, truth.const_data_ptr<std::int64_t>(), metrics);
  metrics.aurc = area_under_risk_coverage(samples);
  const Top1 sorted = in_ascending_order(samples);
  for (const int num_bins : bins) {
    const ReliabilityBins reliability = reliability_bins(samples, num_bins);
    metrics.calibration[num_bins] = {.ece = expected_calibration_error(reliability),
                                     .oe = overconfidence_error(reliability),
                                     .mce = maximum_calibration_error(reliability),
                                     .adaptive_ece = adaptive_calibration_error(sorted, num_bins),
                                     .classwise_ece = classwise_calibration_error(probs, truth, num_bins)};
  }
  return metrics;
}

}  // namespace ekd

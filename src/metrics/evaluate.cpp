#include "ekd/metrics/evaluate.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/stack.h>

#include <algorithm>
#include <cmath>

#include "ekd/core/error.h"
#include "ekd/metrics/registry.h"
#include "ekd/metrics/statistics.h"

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

// How many classes come before the label's in one sample; of equal ones the lower class comes first.
std::int64_t rank_of(std::int64_t label, const double* row, std::int64_t classes) {
  std::int64_t rank = 0;
  for (std::int64_t k = 0; k < classes; ++k) rank += row[k] > row[label] || (row[k] == row[label] && k < label);
  return rank;
}

// Calls visit(ImageAnswer) for every image. log_probs, probs and labels are contiguous.
template <class Visit>
void for_each_image(const at::Tensor& log_probs, const at::Tensor& probs, const at::Tensor& labels, Visit visit) {
  const auto classes = log_probs.size(1);
  for (std::int64_t i = 0; i < log_probs.size(0); ++i) {
    const double* row = log_probs.const_data_ptr<double>() + i * classes;
    const double* p = probs.const_data_ptr<double>() + i * classes;
    const auto label = labels.const_data_ptr<std::int64_t>()[i];
    TORCH_CHECK(label >= 0 && label < classes, "label ", label, " of sample ", i, " is not in [0, ", classes, ")");
    visit(ImageAnswer{row, p, classes, label, rank_of(label, row, classes), *std::max_element(p, p + classes)});
  }
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
  Answers answers{rows.exp(), labels.to(at::kCPU).contiguous(), {}, {}};
  for_each_image(rows, answers.probs, answers.labels, [&](const ImageAnswer& image) {
    answers.samples.confidences.push_back(image.confidence);
    answers.samples.hits.push_back(image.rank == 0);
  });
  answers.ascending = ranked(answers.samples);  // for several numbers of bins at once
  const auto scores = image_scores(rows, answers.labels);
  Metrics metrics{rows.size(0), {}};
  for (const auto& [row, key] : metric_columns(bins))
    metrics.values[key] =
        row->of_image != nullptr ? summarise(scores.at(row->name)).mean : row->of_answers(answers, key.bins);
  return metrics;
}

std::map<std::string, std::vector<double>> image_scores(const at::Tensor& log_probs, const at::Tensor& labels) {
  check(log_probs, labels);
  std::map<std::string, std::vector<double>> scores;
  const at::Tensor rows = log_probs.detach().contiguous();
  for_each_image(rows, rows.exp(), labels.to(at::kCPU).contiguous(), [&](const ImageAnswer& image) {
    for (const auto& row : metric_registry().rows())
      if (row.of_image != nullptr) scores[row.name].push_back(row.of_image(image));
  });
  return scores;
}

}  // namespace ekd

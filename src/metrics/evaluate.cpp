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

void check(const at::Tensor& logits, const at::Tensor& labels) {
  TORCH_CHECK(logits.dim() == 2 && logits.size(0) >= 1 && logits.size(1) >= 1 && logits.scalar_type() == at::kDouble &&
                  logits.is_cpu(),
              "metrics need double logits [N, classes] on the CPU, not ", logits.toString(), logits.sizes());
  TORCH_CHECK(labels.dim() == 1 && labels.size(0) == logits.size(0) && labels.scalar_type() == at::kLong,
              "metrics need int64 labels [", logits.size(0), "], not ", labels.toString(), labels.sizes());
}

// A sum that keeps what each addition loses (Neumaier, 1974): nearly always the double nearest to the true sum, so that
// the order does not matter.
double compensated_sum(const double* values, std::int64_t n) {
  double sum = 0, lost = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double next = sum + values[i];
    lost += sum >= values[i] ? (sum - next) + values[i] : (values[i] - next) + sum;
    sum = next;
  }
  return sum + lost;
}

// How many classes come before the label's in one sample; of equal ones the lower class comes first.
std::int64_t rank_of(std::int64_t label, const double* row, std::int64_t classes) {
  std::int64_t rank = 0;
  for (std::int64_t k = 0; k < classes; ++k) rank += row[k] > row[label] || (row[k] == row[label] && k < label);
  return rank;
}

// What a network said about a split, everything contiguous.
struct Rows {
  at::Tensor logits, log_probs, probs, labels;
};

Rows rows_of(const at::Tensor& logits, const at::Tensor& labels) {
  check(logits, labels);
  const at::Tensor rows = logits.detach().contiguous();
  return {rows, at::log_softmax(rows, 1), probabilities(rows), labels.to(at::kCPU).contiguous()};
}

// Calls visit(ImageAnswer) for every image.
template <class Visit>
void for_each_image(const Rows& rows, Visit visit) {
  const auto classes = rows.logits.size(1);
  for (std::int64_t i = 0; i < rows.logits.size(0); ++i) {
    const double* log_p = rows.log_probs.const_data_ptr<double>() + i * classes;
    const double* p = rows.probs.const_data_ptr<double>() + i * classes;
    const auto label = rows.labels.const_data_ptr<std::int64_t>()[i];
    TORCH_CHECK(label >= 0 && label < classes, "label ", label, " of sample ", i, " is not in [0, ", classes, ")");
    const auto rank = rank_of(label, rows.logits.const_data_ptr<double>() + i * classes, classes);
    visit(ImageAnswer{log_p, p, classes, label, rank, *std::max_element(p, p + classes)});
  }
}

Top1 top1_of(const Rows& rows) {
  Top1 samples;
  for_each_image(rows, [&](const ImageAnswer& image) {
    samples.confidences.push_back(image.confidence);
    samples.hits.push_back(image.rank == 0);
  });
  return samples;
}

std::map<std::string, std::vector<double>> scores_of(const Rows& rows) {
  std::map<std::string, std::vector<double>> scores;
  for_each_image(rows, [&](const ImageAnswer& image) {
    for (const auto& row : metric_registry().rows())
      if (row.of_image != nullptr) scores[row.name].push_back(row.of_image(image));
  });
  return scores;
}

}  // namespace

at::Tensor scaled_logits(const at::Tensor& logits, double temperature) {
  TORCH_CHECK(logits.dim() == 2, "logits are [N, classes], not ", logits.sizes());
  TORCH_CHECK(temperature > 0, "a temperature is positive, not ", temperature);
  const at::Tensor rows = logits.detach().to(at::kCPU).to(at::kDouble);
  return (rows - rows.amax(1, /*keepdim=*/true)) / temperature;  // in this order nothing overflows to +∞
}

at::Tensor probabilities(const at::Tensor& logits) {
  const at::Tensor probs = (logits - logits.amax(1, /*keepdim=*/true)).exp_().contiguous();
  double* p = probs.mutable_data_ptr<double>();
  const auto classes = probs.size(1);
  for (std::int64_t i = 0; i < probs.size(0); ++i, p += classes) {
    const double sum = compensated_sum(p, classes);
    for (std::int64_t k = 0; k < classes; ++k) p[k] /= sum;
  }
  return probs;
}

at::Tensor log_probabilities(const at::Tensor& logits, double temperature) {
  return at::log_softmax(scaled_logits(logits, temperature), 1);
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

Metrics compute_metrics(const at::Tensor& logits, const at::Tensor& labels, const std::vector<int>& bins) {
  const Rows rows = rows_of(logits, labels);
  if (rows.log_probs.isnan().any().item<bool>())
    throw NonFiniteError("the predictions hold numbers that are not finite");
  Answers answers{rows.probs, rows.labels, top1_of(rows), {}};
  answers.ascending = ranked(answers.samples);  // for several numbers of bins at once
  const auto scores = scores_of(rows);
  Metrics metrics{rows.logits.size(0), {}};
  for (const auto& [row, key] : metric_columns(bins))
    metrics.values[key] =
        row->of_image != nullptr ? summarise(scores.at(row->name)).mean : row->of_answers(answers, key.bins);
  return metrics;
}

std::map<std::string, std::vector<double>> image_scores(const at::Tensor& logits, const at::Tensor& labels) {
  return scores_of(rows_of(logits, labels));
}

Top1 top1_of_logits(const at::Tensor& logits, const at::Tensor& labels) { return top1_of(rows_of(logits, labels)); }

}  // namespace ekd

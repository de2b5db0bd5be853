#include "ekd/metrics/evaluate.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/sub.h>

#include <algorithm>
#include <cmath>

#include "ekd/core/error.h"
#include "ekd/metrics/registry.h"
#include "ekd/metrics/statistics.h"
#include "metrics/rows.h"

namespace ekd {
namespace {

void check(const at::Tensor& logits, const at::Tensor& labels) {
  TORCH_CHECK(logits.dim() == 2 && logits.size(0) >= 1 && logits.size(1) >= 1 && logits.scalar_type() == at::kDouble &&
                  logits.is_cpu(),
              "metrics need double logits [N, classes] on the CPU, not ", logits.toString(), logits.sizes());
  TORCH_CHECK(labels.dim() == 1 && labels.size(0) == logits.size(0) && labels.scalar_type() == at::kLong,
              "metrics need int64 labels [", logits.size(0), "], not ", labels.toString(), labels.sizes());
  const std::int64_t smallest = labels.min().item<std::int64_t>(), largest = labels.max().item<std::int64_t>();
  TORCH_CHECK(smallest >= 0 && largest < logits.size(1), "labels in [", smallest, ", ", largest, "] are not in [0, ",
              logits.size(1), ")");
}

// A sum that keeps what each addition loses (Neumaier, 1974): nearly always the double nearest to the true sum, so that
// the order does not matter. Of numbers that are not negative.
struct CompensatedSum {
  double sum = 0, lost = 0;
  void add(double value) {
    const double next = sum + value;
    lost += (std::max(sum, value) - next) + std::min(sum, value);
    sum = next;
  }
  double total() const { return sum + lost; }
};

struct SumOfSquares {
  double sum = 0;
  void add(double value) { sum += value * value; }
  double total() const { return sum; }
};

struct Largest {
  double largest = 0;
  void add(double value) { largest = largest > value ? largest : value; }  // NaN where all are
  double total() const { return largest; }
};

// Of each of n rows. An addition waits for the one before: several rows side by side take little longer than one.
template <class Tally, int kTogether = 8>
void of_rows(const double* rows, std::int64_t n, std::int64_t classes, double* results) {
  std::int64_t i = 0;
  for (; i + kTogether <= n; i += kTogether, rows += kTogether * classes) {
    Tally together[kTogether];
    for (std::int64_t k = 0; k < classes; ++k)
      for (int r = 0; r < kTogether; ++r) together[r].add(rows[r * classes + k]);
    for (int r = 0; r < kTogether; ++r) results[i + r] = together[r].total();
  }
  if constexpr (kTogether > 1) of_rows<Tally, 1>(rows, n - i, classes, results + i);
}

// probs [N, classes], contiguous, become the softmax of logits.
void probabilities_into(at::Tensor& probs, const at::Tensor& logits) {
  at::sub_out(probs, logits, logits.amax(1, /*keepdim=*/true)).exp_();
  const at::Tensor sums = at::empty({probs.size(0), 1}, probs.options());
  of_rows<CompensatedSum>(probs.const_data_ptr<double>(), probs.size(0), probs.size(1),
                          sums.mutable_data_ptr<double>());
  probs.div_(sums);
}

// How many classes come before the label's in one sample; of equal ones the lower class comes first.
std::int64_t rank_of(std::int64_t label, const double* row, std::int64_t classes) {
  std::int64_t rank = 0;
  for (std::int64_t k = 0; k < label; ++k) rank += row[k] >= row[label];
  for (std::int64_t k = label + 1; k < classes; ++k) rank += row[k] > row[label];
  return rank;
}

// What a network said about a split, image by image.
struct Said {
  at::Tensor probs;  // [N, classes]; undefined unless asked for
  std::map<std::string, std::vector<double>> scores;
  Top1 samples;
};

Said said_of(const at::Tensor& logits, const at::Tensor& labels, bool with_probs) {
  check(logits, labels);
  const at::Tensor rows = logits.detach().contiguous(), truth = labels.to(at::kCPU).contiguous();
  const auto n = rows.size(0), classes = rows.size(1);
  Said said{
      with_probs ? at::empty_like(rows) : at::Tensor(), {}, {std::vector<double>(n), std::vector<std::uint8_t>(n)}};
  std::vector<std::pair<const MetricRow*, double*>> metrics;
  for (const auto& row : metric_registry().rows())
    if (row.of_image != nullptr) metrics.emplace_back(&row, (said.scores[row.name] = std::vector<double>(n)).data());
  for_parts(rows, [&](std::int64_t first, const at::Tensor& part) {
    const auto count = part.size(0);
    const at::Tensor log_probs = at::log_softmax(part, 1);
    at::Tensor probs = with_probs ? said.probs.narrow(0, first, count) : at::empty_like(part);
    probabilities_into(probs, part);
    const double *z = part.const_data_ptr<double>(), *log_p = log_probs.const_data_ptr<double>(),
                 *p = probs.const_data_ptr<double>();
    std::vector<double> squares(count), largest(count);
    of_rows<SumOfSquares>(p, count, classes, squares.data());
    of_rows<Largest>(p, count, classes, largest.data());
    for (std::int64_t j = 0; j < count; ++j, z += classes, log_p += classes, p += classes) {
      const auto i = first + j, label = truth.const_data_ptr<std::int64_t>()[i], rank = rank_of(label, z, classes);
      const ImageAnswer image{log_p, p, classes, label, rank, largest[j], squares[j]};
      said.samples.confidences[i] = image.confidence;
      said.samples.hits[i] = rank == 0;
      for (const auto& [row, scores] : metrics) scores[i] = row->of_image(image);
    }
  });
  return said;
}

}  // namespace

at::Tensor scaled_logits(const at::Tensor& logits, double temperature) {
  TORCH_CHECK(logits.dim() == 2, "logits are [N, classes], not ", logits.sizes());
  TORCH_CHECK(temperature > 0, "a temperature is positive, not ", temperature);
  at::Tensor rows = logits.detach().to(at::TensorOptions(at::kCPU).dtype(at::kDouble), false, /*copy=*/true);
  rows.sub_(rows.amax(1, /*keepdim=*/true));
  return temperature == 1 ? rows : rows.div_(temperature);  // in this order nothing overflows to +∞
}

at::Tensor probabilities(const at::Tensor& logits) {
  at::Tensor probs = at::empty(logits.sizes(), logits.options());
  probabilities_into(probs, logits);
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
  Said said = said_of(logits, labels, /*with_probs=*/true);
  // One number of a row that is none makes every log-probability of it none.
  if (std::ranges::any_of(said.scores.at("nll"), [](double nll) { return std::isnan(nll); }))
    throw NonFiniteError("the predictions hold numbers that are not finite");
  Answers answers{said.probs, labels, std::move(said.samples), {}, {}};
  answers.ascending = ranked(answers.samples);  // for several metrics and numbers of bins at once
  for (const int count : bins) answers.reliability.emplace(count, reliability_bins(answers.samples, count));
  Metrics metrics{logits.size(0), {}};
  for (const auto& [row, key] : metric_columns(bins))
    metrics.values[key] =
        row->of_image != nullptr ? summarise(said.scores.at(row->name)).mean : row->of_answers(answers, key.bins);
  return metrics;
}

std::map<std::string, std::vector<double>> image_scores(const at::Tensor& logits, const at::Tensor& labels) {
  return said_of(logits, labels, /*with_probs=*/false).scores;
}

Top1 top1_of_logits(const at::Tensor& logits, const at::Tensor& labels) {
  return said_of(logits, labels, /*with_probs=*/false).samples;
}

}  // namespace ekd

#include "ekd/metrics/calibration.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace ekd {
namespace {

// Finds the bin of a confidence without a search: a guess by multiplication, put right against the edges themselves.
class EqualWidths {
 public:
  explicit EqualWidths(int num_bins) : last_(num_bins - 1) {
    TORCH_CHECK(num_bins >= 1, "calibration needs at least one bin, not ", num_bins);
    for (int b = 0; b <= num_bins; ++b) edges_.push_back(bin_edge(b, num_bins));
  }

  int operator()(double confidence) const {
    // NaN goes into the first bin, too, and makes the result NaN.
    int bin = confidence > 0 ? static_cast<int>(std::min(confidence, 1.0) * last_) : 0;
    while (bin > 0 && confidence <= edges_[bin]) --bin;
    while (bin < last_ && confidence > edges_[bin + 1]) ++bin;
    return bin;
  }

 private:
  int last_;
  std::vector<double> edges_;
};

}  // namespace

Top1 top1(const at::Tensor& probs, const at::Tensor& labels) {
  TORCH_CHECK(probs.dim() == 2 && probs.size(1) >= 1 && labels.dim() == 1 && labels.size(0) == probs.size(0),
              "probabilities ", probs.sizes(), " and labels ", labels.sizes(), " are not [N, classes] and [N]");
  const at::Tensor rows = probs.detach().to(at::kCPU, at::kDouble).contiguous();
  const at::Tensor truth = labels.to(at::kCPU, at::kLong).contiguous();
  const auto classes = rows.size(1);
  Top1 outcome;
  for (std::int64_t i = 0; i < rows.size(0); ++i) {
    const double* row = rows.const_data_ptr<double>() + i * classes;
    const double* best = std::max_element(row, row + classes);
    outcome.confidences.push_back(*best);
    outcome.hits.push_back(best - row == truth.const_data_ptr<std::int64_t>()[i]);
  }
  return outcome;
}

std::vector<std::uint32_t> ranking(const std::vector<double>& confidences, bool descending) {
  std::vector<std::uint32_t> order(confidences.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto before = [&](std::uint32_t a, std::uint32_t b) {
    return descending ? confidences[a] > confidences[b] : confidences[a] < confidences[b];
  };
  if (!std::is_sorted(order.begin(), order.end(), before)) std::stable_sort(order.begin(), order.end(), before);
  return order;
}

RankedSamples ranked(const Top1& samples, bool descending) {
  const auto order = ranking(samples.confidences, descending);
  RankedSamples result;
  for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    const double confidence = samples.confidences[order[begin]];
    std::size_t hits = 0;
    for (; end < order.size() && samples.confidences[order[end]] == confidence; ++end) hits += samples.hits[order[end]];
    end = std::max(end, begin + 1);  // NaN equals nothing, itself neither
    const std::size_t equals = end - begin;
    result.confidences.insert(result.confidences.end(), equals, confidence);
    result.hits.insert(result.hits.end(), equals, static_cast<double>(hits) / static_cast<double>(equals));
  }
  return result;
}

double area_under_risk_coverage(const Top1& samples) {
  const std::size_t n = samples.size();
  TORCH_CHECK(n >= 1, "a risk-coverage curve needs samples");
  const RankedSamples surest_first = ranked(samples, /*descending=*/true);
  double errors = 0, area = 0, first = 0, risk = 0;
  for (std::size_t i = 0; i < n; ++i) {
    errors += 1 - surest_first.hits[i];
    risk = errors / static_cast<double>(i + 1);
    if (i == 0) first = risk;
    area += risk;
  }
  if (n == 1) return risk;
  // Equal steps of 1/n: the trapezoid is the sum less half of both ends; its width, 1 − 1/n, is (n − 1) steps.
  return (area - (first + risk) / 2) / static_cast<double>(n - 1);
}

ReliabilityBins reliability_bins(const Top1& samples, int num_bins) {
  const EqualWidths bin_of(num_bins);
  ReliabilityBins bins{std::vector<std::int64_t>(num_bins), std::vector<double>(num_bins),
                       std::vector<double>(num_bins), static_cast<std::int64_t>(samples.size())};
  for (std::size_t i = 0; i < samples.size(); ++i) {
    const int b = bin_of(samples.confidences[i]);
    ++bins.counts[b];
    bins.accuracies[b] += samples.hits[i];
    bins.confidences[b] += samples.confidences[i];
  }
  for (int b = 0; b < num_bins; ++b) {
    if (bins.counts[b] == 0) continue;
    bins.accuracies[b] /= static_cast<double>(bins.counts[b]);
    bins.confidences[b] /= static_cast<double>(bins.counts[b]);
  }
  return bins;
}

ReliabilityBins reliability_bins(const at::Tensor& probs, const at::Tensor& labels, int num_bins) {
  return reliability_bins(top1(probs, labels), num_bins);
}

double expected_calibration_error(const ReliabilityBins& bins) {
  double error = 0;
  for (std::size_t b = 0; b < bins.counts.size(); ++b) {
    error += static_cast<double>(bins.counts[b]) * std::abs(bins.accuracies[b] - bins.confidences[b]);
  }
  return bins.total == 0 ? 0 : error / static_cast<double>(bins.total);
}

double overconfidence_error(const ReliabilityBins& bins) {
  double error = 0;
  for (std::size_t b = 0; b < bins.counts.size(); ++b) {
    const double excess = std::max(bins.confidences[b] - bins.accuracies[b], 0.0);
    error += static_cast<double>(bins.counts[b]) * bins.confidences[b] * excess;
  }
  return bins.total == 0 ? 0 : error / static_cast<double>(bins.total);
}

double maximum_calibration_error(const ReliabilityBins& bins) {
  double error = 0;
  for (std::size_t b = 0; b < bins.counts.size(); ++b) {
    if (bins.counts[b] > 0) error = std::max(error, std::abs(bins.accuracies[b] - bins.confidences[b]));
  }
  return error;
}

double adaptive_calibration_error(const Top1& samples, int num_bins) {
  return adaptive_calibration_error(ranked(samples), num_bins);
}

double adaptive_calibration_error(const RankedSamples& ascending, int num_bins) {
  TORCH_CHECK(num_bins >= 1, "calibration needs at least one group, not ", num_bins);
  const std::size_t n = ascending.hits.size();
  double error = 0;
  std::size_t next = 0;
  const auto groups = static_cast<std::size_t>(num_bins);
  for (std::size_t group = 0; group < groups; ++group) {
    double difference = 0;
    const std::size_t end = next + n / groups + (group < n % groups ? 1 : 0);
    for (; next < end; ++next) difference += ascending.hits[next] - ascending.confidences[next];
    error += std::abs(difference);
  }
  return n == 0 ? 0 : error / static_cast<double>(n);
}

double classwise_calibration_error(const at::Tensor& probs, const at::Tensor& labels, int num_bins) {
  TORCH_CHECK(probs.dim() == 2 && probs.size(1) >= 1 && labels.dim() == 1 && labels.size(0) == probs.size(0),
              "probabilities ", probs.sizes(), " and labels ", labels.sizes(), " are not [N, classes] and [N]");
  const at::Tensor rows = probs.detach().to(at::kCPU, at::kDouble).contiguous();
  const at::Tensor truth = labels.to(at::kCPU, at::kLong).contiguous();
  const double* p = rows.const_data_ptr<double>();
  const auto n = rows.size(0), classes = rows.size(1);
  const EqualWidths bin_of(num_bins);
  // Σ over a bin of ([label = k] − p_k) is all that a bin's n_b · |acc_b − conf_b| needs. [bin, class]: most
  // probabilities are small, so most of the sums that one sample touches lie side by side.
  std::vector<double> differences(num_bins * classes);
  for (std::int64_t i = 0; i < n; ++i) {
    const auto label = truth.const_data_ptr<std::int64_t>()[i];
    for (std::int64_t k = 0; k < classes; ++k, ++p) {
      differences[bin_of(*p) * classes + k] += static_cast<double>(k == label) - *p;
    }
  }
  double error = 0;
  for (const double difference : differences) error += std::abs(difference);
  return n == 0 ? 0 : error / static_cast<double>(n * classes);
}

}  // namespace ekd

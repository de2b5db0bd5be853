#include "ekd/metrics/calibration.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <bit>
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

  // What is not above it is in the first bin; NaN, too, which makes the result NaN.
  double first_end() const { return edges_[1]; }

  int operator()(double confidence) const {
    int bin = confidence > 0 ? std::min(static_cast<int>(std::min(confidence, 1.0) * (last_ + 1)), last_) : 0;
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

std::vector<std::uint32_t> ranking(const std::vector<double>& confidences) {
  std::vector<std::uint32_t> order(confidences.size());
  std::iota(order.begin(), order.end(), 0U);
  const auto before = [&](std::uint32_t a, std::uint32_t b) { return confidences[a] < confidences[b]; };
  if (!std::is_sorted(order.begin(), order.end(), before)) std::stable_sort(order.begin(), order.end(), before);
  return order;
}

RankedSamples ranked(const Top1& samples) {
  // What equals count is the same in any order of theirs, so the samples themselves are sorted. By their bits, which
  // order confidences as their values do, and NaN as well.
  std::vector<std::pair<std::uint64_t, std::uint8_t>> order;
  for (std::size_t i = 0; i < samples.size(); ++i)
    order.emplace_back(std::bit_cast<std::uint64_t>(samples.confidences[i]), samples.hits[i]);
  std::ranges::sort(order);
  RankedSamples result;
  for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    const std::uint64_t bits = order[begin].first;
    std::size_t hits = 0;
    for (; end < order.size() && order[end].first == bits; ++end) hits += order[end].second;
    const std::size_t equals = end - begin;
    result.confidences.insert(result.confidences.end(), equals, std::bit_cast<double>(bits));
    result.hits.insert(result.hits.end(), equals, static_cast<double>(hits) / static_cast<double>(equals));
  }
  return result;
}

double area_under_risk_coverage(const Top1& samples) { return area_under_risk_coverage(ranked(samples)); }

double area_under_risk_coverage(const RankedSamples& ascending) {
  const std::size_t n = ascending.hits.size();
  TORCH_CHECK(n >= 1, "a risk-coverage curve needs samples");
  double errors = 0, area = 0, first = 0, risk = 0;
  for (std::size_t i = 0; i < n; ++i) {
    errors += 1 - ascending.hits[n - 1 - i];
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
  const auto n = rows.size(0), classes = rows.size(1);
  const EqualWidths bin_of(num_bins);
  // Σ over a bin of ([label = k] − p_k) is all that a bin's n_b · |acc_b − conf_b| needs. [bin, class].
  std::vector<double> differences(num_bins * classes);
  // By classes, so that a sum's order is the samples', whatever the threads; a cache line of them at least.
  at::parallel_for(
      0, classes, std::max<std::int64_t>(8, 1 + 32768 / (n + 1)), [&](std::int64_t begin, std::int64_t end) {
        // Most probabilities are in the first bin: their sums lie side by side, on no line that other threads write to.
        const std::int64_t width = end - begin;
        const double first_end = bin_of.first_end();
        std::vector<double> first(width), kept(width + 1);
        std::vector<std::int64_t> others(width + 1);
        for (std::int64_t i = 0; i < n; ++i) {
          const double* p = rows.const_data_ptr<double>() + i * classes + begin;
          const auto label = truth.const_data_ptr<std::int64_t>()[i] - begin;
          // All are added to the first bin, and what was there before is put back where that is wrong: at those in
          // other bins, found without branches that nobody could predict, and at the label.
          std::int64_t count = 0;
          for (std::int64_t k = 0; k < width; ++k) {
            others[count] = k;
            count += p[k] > first_end;
          }
          if (label >= 0 && label < width && !(p[label] > first_end)) others[count++] = label;
          for (std::int64_t j = 0; j < count; ++j) kept[j] = first[others[j]];
          for (std::int64_t k = 0; k < width; ++k) first[k] -= p[k];
          for (std::int64_t j = 0; j < count; ++j) {
            const auto k = others[j];
            const int bin = bin_of(p[k]);
            first[k] = kept[j];
            (bin == 0 ? first[k] : differences[bin * classes + begin + k]) += static_cast<double>(k == label) - p[k];
          }
        }
        std::ranges::copy(first, differences.begin() + begin);
      });
  double error = 0;
  for (const double difference : differences) error += std::abs(difference);
  return n == 0 ? 0 : error / static_cast<double>(n * classes);
}

}  // namespace ekd

#include "ekd/metrics/top1.h"

#include <algorithm>
#include <numeric>

namespace ekd {

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

}  // namespace ekd

#include "metrics/risk_coverage.h"

namespace ekd {

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

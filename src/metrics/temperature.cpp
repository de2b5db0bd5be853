#include "ekd/metrics/temperature.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <sstream>
#include <vector>

#include "ekd/core/error.h"
#include "ekd/metrics/evaluate.h"
#include "metrics/rows.h"

namespace ekd {
namespace {

// The NLL as a function of the inverse temperature β, at one point. It is convex in β: its slope, the mean of
// E_p[z] − z_label, rises with β, and the variance of z under p is the slope's own slope.
struct NllAt {
  double value = 0, slope = 0, curvature = 0;
};

class ScaledNll {
 public:
  ScaledNll(const at::Tensor& logits, const at::Tensor& labels) : n_(logits.size(0)), classes_(logits.size(1)) {
    // Less each row's maximum: no exponential overflows, and the NLL stays the same.
    const at::Tensor shifted = scaled_logits(logits);
    label_logits_ = shifted.gather(1, labels.to(at::kCPU).unsqueeze(1)).contiguous();
    if (shifted.isnan().any().item<bool>() || !label_logits_.isfinite().all().item<bool>()) {
      throw NonFiniteError("no temperature can be fitted: the logits hold numbers that are not finite");
    }
    shifted_ = shifted.contiguous();
    const at::Tensor spreads = at::where(shifted.isfinite(), shifted, 0).amin(1).neg();
    spreads_ = spreads.masked_select(spreads > 0);
  }

  // Ends of the search for β; none where all logits of every row are the same.
  std::optional<std::pair<double, double>> bounds() const {
    if (spreads_.numel() == 0) return std::nullopt;
    constexpr double kLargest = 1e300;  // and its inverse stay finite
    const double smallest = spreads_.min().item<double>(), largest = spreads_.max().item<double>();
    return std::pair{std::max(1 / largest / kTemperatureReach, 1 / kLargest),
                     std::min(kTemperatureReach / smallest, kLargest)};
  }

  NllAt operator()(double beta) const {
    std::vector<NllAt> of_image(n_);
    for_parts(shifted_, [&](std::int64_t first, const at::Tensor& part) {
      const at::Tensor exponentials = (part * beta).exp_();
      const double* z = part.const_data_ptr<double>();
      const double* e = exponentials.const_data_ptr<double>();
      for (std::int64_t i = first; i < first + part.size(0); ++i, z += classes_, e += classes_)
        of_image[i] = nll_of(z, e, beta, label_logits_.const_data_ptr<double>()[i]);
    });
    NllAt sum;  // in the images' order, whatever the threads
    for (const NllAt& image : of_image) {
      sum.value += image.value;
      sum.slope += image.slope;
      sum.curvature += image.curvature;
    }
    const auto n = static_cast<double>(n_);
    return {sum.value / n, sum.slope / n, sum.curvature / n};
  }

 private:
  // Of one image: z and their exponentials e [classes].
  NllAt nll_of(const double* z, const double* e, double beta, double label_logit) const {
    double mass = 0, first = 0, second = 0;
    for (std::int64_t k = 0; k < classes_; ++k) {
      if (e[k] == 0) continue;  // 0 · -∞ is no number
      mass += e[k];
      first += e[k] * z[k];
      second += e[k] * z[k] * z[k];
    }
    const double mean = first / mass;
    return {std::log(mass) - beta * label_logit, mean - label_logit, std::max(second / mass - mean * mean, 0.0)};
  }

  std::int64_t n_, classes_;
  at::Tensor shifted_, label_logits_, spreads_;
};

// Root of the slope between two values of log β at which it has different signs: Newton's step where it stays in the
// bracket and halves the last one, otherwise the middle.
double minimise(const ScaledNll& nll, double low, double high) {
  double at = std::clamp(0.0, low, high), last_step = high - low;
  for (int i = 0; i < 100; ++i) {
    const double beta = std::exp(at);
    const NllAt point = nll(beta);
    if (point.slope == 0) break;
    (point.slope < 0 ? low : high) = at;
    double next = at - point.slope / (beta * point.curvature);
    // The comparison also fails for NaN and ∞ from a vanishing curvature.
    if (!(next > low && next < high && std::abs(next - at) < last_step / 2)) next = (low + high) / 2;
    last_step = std::abs(next - at);
    at = next;
    if (last_step < 1e-10) break;
  }
  return at;
}

}  // namespace

TemperatureFit fit_temperature(const at::Tensor& logits, const at::Tensor& labels) {
  TORCH_CHECK(logits.dim() == 2 && logits.size(0) >= 1 && logits.size(1) >= 1 && labels.dim() == 1 &&
                  labels.size(0) == logits.size(0) && labels.scalar_type() == at::kLong,
              "fitting a temperature needs logits [N, classes] and int64 labels [N], not ", logits.sizes(), " and ",
              labels.toString(), labels.sizes());
  const ScaledNll nll(logits, labels);
  using Bound = TemperatureFit::Bound;
  const auto bounds = nll.bounds();
  if (!bounds) return {1, nll(1).value};
  const auto [low, high] = *bounds;
  const double slope_low = nll(low).slope, slope_high = nll(high).slope;
  if (slope_low >= 0 && slope_high > 0) return {1 / low, nll(low).value, Bound::kUpper};
  if (slope_low < 0 && slope_high <= 0) return {1 / high, nll(high).value, Bound::kLower};
  const double beta = slope_low < 0 ? std::exp(minimise(nll, std::log(low), std::log(high))) : 1;
  return {1 / beta, nll(beta).value};
}

std::string bound_warning(const TemperatureFit& fit) {
  if (fit.bound == TemperatureFit::Bound::kNone) return "";
  const bool lower = fit.bound == TemperatureFit::Bound::kLower;
  std::ostringstream text;
  text << "the fitted temperature, " << fit.temperature << ", is where the search ends: the NLL has no minimum, the "
       << (lower ? "lower the temperature the better, as where every sample is right"
                 : "higher the temperature the better, as where the answers are no better than chance");
  return text.str();
}

}  // namespace ekd

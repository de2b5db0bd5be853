#include "ekd/metrics/difference.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

#include "ekd/metrics/statistics.h"

namespace ekd {
namespace {

constexpr double kLargeDegrees = 1e7;  // beyond, Student's distribution is the normal one to seven digits

// The continued fraction of the incomplete beta function, by Lentz's method (Numerical Recipes, 6.4).
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300;
  const auto away_from_zero = [](double value) { return std::abs(value) < kTiny ? kTiny : value; };
  double c = 1, d = 1 / away_from_zero(1 - (a + b) * x / (a + 1)), fraction = d;
  for (int m = 1; m < 100'000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double step = 1;
    for (const double term : {even, odd}) {
      d = 1 / away_from_zero(1 + term * d);
      c = away_from_zero(1 + term / c);
      step = c * d;
      fraction *= step;
    }
    if (std::abs(step - 1) < 1e-14) break;
  }
  return fraction;
}

// The regularised incomplete beta function I_x(a, b).
double incomplete_beta(double a, double b, double x) {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
  return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

// P(T > t), t ≥ 0.
double upper_tail(double t, double degrees) {
  if (degrees > kLargeDegrees) return std::erfc(t / std::sqrt(2.0)) / 2;
  return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t)) / 2;
}

double variance(const std::vector<double>& values) {
  const double std = summarise(values).std.value_or(0);
  return std * std;
}

}  // namespace

double student_quantile(double share, double degrees) {
  TORCH_CHECK(share > 0 && share < 1 && degrees > 0, "no quantile ", share, " with ", degrees, " degrees of freedom");
  if (share < 0.5) return -student_quantile(1 - share, degrees);
  double low = 0, high = 1;
  while (upper_tail(high, degrees) > 1 - share && high < 1e300) high *= 2;
  for (int i = 0; i < 200 && high - low > 1e-13 * high; ++i) {
    const double middle = (low + high) / 2;
    (upper_tail(middle, degrees) > 1 - share ? low : high) = middle;
  }
  return (low + high) / 2;
}

double DifferenceSpread::margin() const { return sigma == 0 ? 0 : sigma * student_quantile(0.975, degrees); }

DifferenceSpread spread_of_sum(double known, double estimated, double degrees) {
  const double all = known + estimated;
  if (estimated == 0) return {std::sqrt(all)};
  return {std::sqrt(all), degrees * (all / estimated) * (all / estimated)};
}

DifferenceSpread difference_spread(const std::vector<double>& differences,
                                   const std::vector<std::vector<double>>& rounds) {
  TORCH_CHECK(!differences.empty() && rounds.size() == differences.size(), "differences of ", differences.size(),
              " seeds and rounds of ", rounds.size());
  const auto n = static_cast<double>(rounds.size());
  std::vector<double> means(rounds[0].size());
  double of_one = 0;  // C + I
  for (const auto& seed : rounds) {
    TORCH_CHECK(seed.size() == means.size(), "seeds of ", means.size(), " and ", seed.size(), " rounds");
    for (std::size_t round = 0; round < means.size(); ++round) means[round] += seed[round] / n;
    of_one += variance(seed) / n;
  }
  const double of_mean = variance(means);  // C + I/n
  if (rounds.size() == 1) return {std::sqrt(of_mean)};
  const double common = std::max((n * of_mean - of_one) / (n - 1), 0.0);
  const double own = std::max(of_one - common, 0.0);
  return spread_of_sum(common, std::max(variance(differences), own) / n, n - 1);
}

}  // namespace ekd

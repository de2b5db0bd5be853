#include "augment/samplers.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include <vector>

namespace ekd {
namespace {

// log of a Gamma(shape, 1) variate, shape >= 1. Marsaglia and Tsang's method.
double log_gamma_variate(const RowDraws& draws, std::uint32_t column, double shape) {
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  for (std::uint32_t attempt = 0;; ++attempt) {
    const double x = draws.normal(column, attempt), root = 1 + c * x;
    if (root <= 0) continue;
    const double v = root * root * root, log_v = 3 * std::log(root);
    if (std::log(draws.uniform(column + 1, attempt)) < 0.5 * x * x + d * (1 - v + log_v)) return std::log(d) + log_v;
  }
}

// min(shape, 1) times the log of a Gamma(shape, 1) variate: finite for every shape. For shape < 1 the variate is that
// of shape + 1 times u^(1 / shape).
double scaled_log_gamma(const RowDraws& draws, std::uint32_t column, double shape) {
  if (shape == 1) return std::log(-std::log(draws.uniform(column)));
  if (shape > 1) return log_gamma_variate(draws, column, shape);
  return shape * log_gamma_variate(draws, column, shape + 1) + std::log(draws.uniform(column + 2));
}

}  // namespace

// Box and Muller's method, from one block's two halves.
double RowDraws::normal(std::uint32_t column, std::uint32_t attempt) const {
  const PhiloxBlock words = random_.block(epoch_, row_, column, attempt);
  const auto unit = [](std::uint32_t high, std::uint32_t low) {
    return (static_cast<double>((std::uint64_t{high} << 32 | low) >> 12) + 0.5) * 0x1p-52;
  };
  const double radius = std::sqrt(-2 * std::log(unit(words[0], words[1])));
  return radius * std::cos(2 * std::numbers::pi * unit(words[2], words[3]));
}

double gamma_variate(const RowDraws& draws, std::uint32_t column, double shape) {
  return std::exp(scaled_log_gamma(draws, column, shape) / std::min(shape, 1.0));
}

void dirichlet_variate(const RowDraws& draws, std::uint32_t column, double alpha, double* weights, int count) {
  for (int i = 0; i < count; ++i)
    weights[i] = scaled_log_gamma(draws, column + kGammaColumns * static_cast<std::uint32_t>(i), alpha);
  const double largest = *std::max_element(weights, weights + count), scale = std::min(alpha, 1.0);
  for (int i = 0; i < count; ++i) weights[i] = std::exp((weights[i] - largest) / scale);
  const double sum = std::accumulate(weights, weights + count, 0.0);
  for (int i = 0; i < count; ++i) weights[i] /= sum;
}

double beta_variate(const RowDraws& draws, std::uint32_t column, double alpha) {
  if (alpha == 1) return draws.uniform(column);
  double weights[2];
  dirichlet_variate(draws, column, alpha, weights, 2);
  return weights[0];
}

void permutation(const RowDraws& draws, std::uint32_t column, std::int64_t size, std::int64_t* order) {
  std::vector<std::uint64_t> keys(static_cast<std::size_t>(size));
  for (std::size_t i = 0; i < keys.size(); ++i) keys[i] = draws.bits(column + static_cast<std::uint32_t>(i));
  std::iota(order, order + size, std::int64_t{0});
  std::stable_sort(order, order + size, [&](std::int64_t a, std::int64_t b) {
    return keys[static_cast<std::size_t>(a)] < keys[static_cast<std::size_t>(b)];
  });
}

}  // namespace ekd

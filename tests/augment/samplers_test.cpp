// Samplers against the moments of their distributions. n draws of a variate with variance v have a mean with standard
// error √(v / n); seeds are fixed, so a bound of five of them either always holds or never.
#include "augment/samplers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <vector>

namespace ekd {
namespace {

constexpr std::uint32_t kDraws = 100'000;

struct Moments {
  double mean = 0, mean_error = 0, variance = 0, variance_error = 0;
};

Moments moments(const std::function<double(const RowDraws&)>& variate) {
  const CountedRandom random(5, RandomStream::kMixup);
  std::vector<double> values;
  for (std::uint32_t row = 0; row < kDraws; ++row) values.push_back(variate(RowDraws(random, 0, row)));
  const auto n = static_cast<double>(kDraws);
  Moments m;
  m.mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double fourth = 0;
  for (const double value : values) {
    m.variance += std::pow(value - m.mean, 2) / n;
    fourth += std::pow(value - m.mean, 4) / n;
  }
  m.mean_error = std::sqrt(m.variance / n);
  m.variance_error = std::sqrt((fourth - m.variance * m.variance) / n);
  return m;
}

void expect_moments(const Moments& m, double mean, double variance, double label) {
  EXPECT_NEAR(m.mean, mean, 5 * m.mean_error) << label;
  EXPECT_NEAR(m.variance, variance, 5 * m.variance_error) << label;
}

// Gamma(a, 1) has mean a and variance a.
TEST(Samplers, GammaMoments) {
  for (const double shape : {0.05, 0.3, 1.0, 1.5, 4.0, 60.0})
    expect_moments(moments([&](const RowDraws& draws) { return gamma_variate(draws, 0, shape); }), shape, shape, shape);
}

TEST(Samplers, NormalMoments) {
  expect_moments(moments([](const RowDraws& draws) { return draws.normal(0); }), 0, 1, 0);
}

// Beta(a, a) has mean 1/2 and variance 1 / (4 (2a + 1)).
TEST(Samplers, BetaMoments) {
  for (const double alpha : {0.02, 0.3, 1.0, 2.5, 40.0})
    expect_moments(moments([&](const RowDraws& draws) { return beta_variate(draws, 0, alpha); }), 0.5,
                   1 / (4 * (2 * alpha + 1)), alpha);
}

// The mean absolute deviation of Beta(a, a) is 2 a^2a / (B(a, a) (2a)^(2a + 1)); for a = .3 it is .3747.
TEST(Samplers, BetaMeanAbsoluteDeviation) {
  constexpr double kAlpha = 0.3;
  const double expected =
      2 * std::pow(kAlpha, 2 * kAlpha) / (std::beta(kAlpha, kAlpha) * std::pow(2 * kAlpha, 2 * kAlpha + 1));
  const Moments m = moments([](const RowDraws& draws) { return std::fabs(beta_variate(draws, 0, kAlpha) - 0.5); });
  EXPECT_NEAR(m.mean, expected, 5 * m.mean_error);
}

TEST(Samplers, BetaOfOneIsTheUniformItself) {
  const RowDraws draws(CountedRandom(1, RandomStream::kCutmix), 3, 4);
  EXPECT_EQ(beta_variate(draws, 7, 1), draws.uniform(7));
}

// Dirichlet(a, a, a): each weight has mean 1/3 and variance (2/9) / (3a + 1).
TEST(Samplers, DirichletMoments) {
  for (const double alpha : {0.2, 1.0, 5.0})
    for (std::size_t place = 0; place < 3; ++place) {
      const Moments m = moments([&](const RowDraws& draws) {
        double weights[3];
        dirichlet_variate(draws, 0, alpha, weights, 3);
        EXPECT_NEAR(weights[0] + weights[1] + weights[2], 1, 1e-12);
        return weights[place];
      });
      expect_moments(m, 1.0 / 3, 2.0 / 9 / (3 * alpha + 1), alpha);
    }
}

// The two exponentials of Dirichlet(1, 1), from their own columns.
TEST(Samplers, DirichletOfOneIsExponential) {
  const RowDraws draws(CountedRandom(1, RandomStream::kAugmix), 3, 4);
  double weights[2];
  dirichlet_variate(draws, 10, 1, weights, 2);
  const double first = -std::log(draws.uniform(10)), second = -std::log(draws.uniform(10 + kGammaColumns));
  EXPECT_NEAR(weights[0], first / (first + second), 1e-14);
}

// As a → 0, Beta(a, a) becomes a fair coin; as a → ∞, 1/2. Nothing in between may be NaN.
TEST(Samplers, ExtremeShapesStayFinite) {
  for (const double alpha : {1e-300, 1e-12, 1e-3, 1e6, 1e300}) {
    const Moments m = moments([&](const RowDraws& draws) {
      const double value = beta_variate(draws, 0, alpha);
      EXPECT_TRUE(value >= 0 && value <= 1) << value;
      return value;
    });
    EXPECT_NEAR(m.mean, 0.5, 5 * m.mean_error + 1e-12) << alpha;
    EXPECT_NEAR(m.variance, alpha < 1 ? 0.25 : 0, alpha == 1e-3 ? 2e-3 : 1e-5) << alpha;
  }
}

TEST(Samplers, PermutationHoldsEachPlaceOnceAndIsUniform) {
  const CountedRandom random(5, RandomStream::kMixup);
  constexpr int kSize = 5, kTimes = 20'000;
  int counts[kSize][kSize] = {};
  for (int row = 0; row < kTimes; ++row) {
    std::vector<std::int64_t> order(kSize);
    permutation(RowDraws(random, 1, static_cast<std::uint32_t>(row)), 16, kSize, order.data());
    for (int i = 0; i < kSize; ++i) ++counts[i][order[static_cast<std::size_t>(i)]];
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, (std::vector<std::int64_t>{0, 1, 2, 3, 4}));
  }
  // Each count has mean 4,000 and standard deviation √(20,000 · .2 · .8) = 57.
  for (const auto& line : counts)
    for (const int count : line) EXPECT_NEAR(count, 4'000, 5 * 57);
}

}  // namespace
}  // namespace ekd

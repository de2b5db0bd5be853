#include "ekd/metrics/statistics.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace ekd {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(StudentQuantile, IsThatOfTheTables) {
  EXPECT_NEAR(student_quantile(0.975, 1), 12.706204736, 1e-8);
  EXPECT_NEAR(student_quantile(0.975, 2), 4.302652730, 1e-8);
  EXPECT_NEAR(student_quantile(0.975, 5), 2.570581836, 1e-8);
  EXPECT_NEAR(student_quantile(0.975, 30), 2.042272456, 1e-8);
  EXPECT_NEAR(student_quantile(0.9, 3), 1.637744354, 1e-8);
  EXPECT_NEAR(student_quantile(0.975, kInfinity), 1.959963985, 1e-8);
  EXPECT_NEAR(student_quantile(0.975, 1e6), student_quantile(0.975, kInfinity), 1e-5);
  EXPECT_NEAR(student_quantile(0.75, 1), 1, 1e-10) << "Cauchy's distribution";
  EXPECT_NEAR(student_quantile(0.025, 7.5), -student_quantile(0.975, 7.5), 1e-12);
  EXPECT_NEAR(student_quantile(0.5, 4), 0, 1e-9);
  EXPECT_LT(student_quantile(0.975, 1.5), student_quantile(0.975, 1));
  EXPECT_GT(student_quantile(0.975, 1.5), student_quantile(0.975, 2));
  EXPECT_THROW(student_quantile(1, 3), c10::Error);
  EXPECT_THROW(student_quantile(0.9, 0), c10::Error);
}

TEST(DifferenceSpread, OfOneSeedIsThatOverImages) {
  const DifferenceSpread spread = difference_spread({5}, {{1, 2, 6}});  // deviations −2, −1, 3: 14 over 2
  EXPECT_DOUBLE_EQ(spread.sigma, std::sqrt(7.0));
  EXPECT_EQ(spread.degrees, kInfinity);
  EXPECT_NEAR(spread.margin(), 1.959963985 * std::sqrt(7.0), 1e-8);
}

TEST(DifferenceSpread, MatchesHandArithmetic) {
  // The images move both seeds alike, C = 7, I = 0. Seeds 1 and 5: s² = 8, s²/n = 4.
  const DifferenceSpread alike = difference_spread({1, 5}, {{1, 2, 6}, {3, 4, 8}});
  EXPECT_DOUBLE_EQ(alike.sigma, std::sqrt(11.0));
  EXPECT_DOUBLE_EQ(alike.degrees, 11.0 * 11 / 16);
  // Against each other: the mean stays where it is, C = 0, I = 7. s² = 8 holds I: it is not added again.
  const DifferenceSpread apart = difference_spread({1, 5}, {{1, 2, 6}, {-1, -2, -6}});
  EXPECT_DOUBLE_EQ(apart.sigma, 2);
  EXPECT_DOUBLE_EQ(apart.degrees, 1);
  EXPECT_NEAR(apart.margin(), 2 * 12.706204736, 1e-7);
  // Seeds that happen to agree scatter by what images do to each of them nevertheless.
  EXPECT_DOUBLE_EQ(difference_spread({3, 3}, {{1, 2, 6}, {-1, -2, -6}}).sigma, std::sqrt(7.0 / 2));
  EXPECT_EQ(difference_spread({3, 3}, {{1, 1}, {2, 2}}).margin(), 0);
  EXPECT_THROW(difference_spread({}, {}), c10::Error);
  EXPECT_THROW(difference_spread({1, 2}, {{1, 2}}), c10::Error);
}

// The variances of what the images do to all seeds, of the seeds, and of what the images do to one seed.
struct Scatter {
  double images = 0, seeds = 0, both = 0;
};

// How often two equal recipes would be told apart.
double false_verdicts(const Scatter& scatter, std::size_t seeds) {
  constexpr int kComparisons = 4000, kRounds = 100;
  std::mt19937 random(static_cast<std::mt19937::result_type>(seeds));
  std::normal_distribution<double> normal;
  const auto drawn = [&](double variance) { return std::sqrt(variance) * normal(random); };
  int verdicts = 0;
  for (int i = 0; i < kComparisons; ++i) {
    const double alike = drawn(scatter.images);
    std::vector<double> differences(seeds), of_images(kRounds);
    std::vector<std::vector<double>> rounds(seeds, std::vector<double>(kRounds));
    for (double& image : of_images) image = drawn(scatter.images);
    double mean = 0;
    for (std::size_t seed = 0; seed < seeds; ++seed) {
      differences[seed] = alike + drawn(scatter.seeds) + drawn(scatter.both);
      mean += differences[seed] / static_cast<double>(seeds);
      for (int round = 0; round < kRounds; ++round) rounds[seed][round] = of_images[round] + drawn(scatter.both);
    }
    verdicts += std::abs(mean) > difference_spread(differences, rounds).margin();
  }
  return static_cast<double>(verdicts) / kComparisons;
}

TEST(DifferenceSpread, OneInTwentyOfEqualRecipesIsToldApart) {
  // Scatter over seeds like that over images, in various shares. 4,000 comparisons know .05 to ±.0034.
  for (const Scatter& scatter :
       {Scatter{1, 0.5, 0.5}, {1, 1, 1}, {1, 2, 0.5}, {0.5, 1, 0.5}, {2, 1, 0.1}, {0.05, 0, 1}})
    for (const std::size_t seeds : {2, 3, 5})
      EXPECT_LT(false_verdicts(scatter, seeds), 0.065)
          << seeds << " seeds, " << scatter.images << " " << scatter.seeds << " " << scatter.both;
  // Where the seeds are all that scatters, or the images, it is one in twenty exactly.
  for (const Scatter& scatter : {Scatter{0, 1, 0}, {1, 0, 0}})
    for (const std::size_t seeds : {2, 3, 5}) EXPECT_NEAR(false_verdicts(scatter, seeds), 0.05, 0.014) << seeds;
  // Two seeds that scatter much more than the images: the worst case of Welch's and Satterthwaite's approximation.
  EXPECT_LT(false_verdicts({0.1, 2, 0}, 2), 0.14);
  EXPECT_LT(false_verdicts({0.1, 3, 0}, 3), 0.09);
}

}  // namespace
}  // namespace ekd

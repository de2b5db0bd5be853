#include "ekd/metrics/calibration.h"

#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <random>

namespace ekd {
namespace {

using testing::ElementsAre;

// Confidences .9 right, .8 wrong, .6 right, .4 wrong.
at::Tensor four_samples() {
  return at::tensor({.9, .05, .05, .8, .1, .1, .6, .2, .2, .4, .3, .3}, at::kDouble).view({4, 3});
}
at::Tensor four_labels() { return at::tensor({0, 1, 0, 1}, at::kLong); }

TEST(Calibration, ErrorsMatchHandArithmetic) {
  // Two bins: (0, .5] holds .4 wrong; (.5, 1] holds three with confidence 2.3/3 and accuracy 2/3.
  const ReliabilityBins bins = reliability_bins(four_samples(), four_labels(), 2);
  EXPECT_THAT(bins.counts, ElementsAre(1, 3));
  EXPECT_DOUBLE_EQ(bins.accuracies[0], 0);
  EXPECT_DOUBLE_EQ(bins.accuracies[1], 2.0 / 3);
  EXPECT_DOUBLE_EQ(bins.confidences[0], 0.4);
  EXPECT_DOUBLE_EQ(bins.confidences[1], 2.3 / 3);
  EXPECT_NEAR(expected_calibration_error(bins), 0.25 * 0.4 + 0.75 * (2.3 / 3 - 2.0 / 3), 1e-12);
  EXPECT_NEAR(overconfidence_error(bins), 0.25 * 0.4 * 0.4 + 0.75 * (2.3 / 3) * (2.3 / 3 - 2.0 / 3), 1e-12);
  EXPECT_NEAR(maximum_calibration_error(bins), 0.4, 1e-12);
}

TEST(Calibration, OverconfidenceIsOneSided) {
  // Confidence .6 and always right: 40 % too modest, which costs ECE but no OE.
  const ReliabilityBins bins = reliability_bins(Top1{{.6, .6}, {1, 1}}, 10);
  EXPECT_NEAR(expected_calibration_error(bins), 0.4, 1e-12);
  EXPECT_EQ(overconfidence_error(bins), 0);
}

TEST(Calibration, BinsAreOpenBelowAndClosedAbove) {
  const double above = std::nextafter(0.5, 1);
  const ReliabilityBins bins = reliability_bins(Top1{{0, 0.25, 0.5, above, 1}, {0, 0, 0, 0, 0}}, 4);
  EXPECT_THAT(bins.counts, ElementsAre(2, 1, 1, 1)) << "0 in the first bin, an edge in the lower one, 1 in the last";
}

// b/M itself, where b · (1/M) may be a bit beside: .3 is in the third of ten bins, the next double in the fourth.
TEST(Calibration, EdgesAreFractions) {
  for (int num_bins = 1; num_bins <= 1000; num_bins += num_bins < 110 ? 1 : 89) {
    for (int b = 1; b < num_bins; ++b) {
      const double edge = static_cast<double>(b) / num_bins;
      EXPECT_EQ(reliability_bins(Top1{{edge}, {1}}, num_bins).counts[b - 1], 1) << b << " of " << num_bins;
      EXPECT_EQ(reliability_bins(Top1{{std::nextafter(edge, 1)}, {1}}, num_bins).counts[b], 1)
          << b << " of " << num_bins;
    }
    EXPECT_EQ(reliability_bins(Top1{{1.0}, {1}}, num_bins).counts[num_bins - 1], 1);
  }
  EXPECT_EQ(reliability_bins(Top1{{0.3}, {1}}, 10).counts[2], 1);
  EXPECT_EQ(reliability_bins(Top1{{0.30000000000000004}, {1}}, 10).counts[3], 1);
}

TEST(Calibration, EmptyBinsAndEmptySetsContributeNothing) {
  const ReliabilityBins sparse = reliability_bins(Top1{{.95, .95}, {1, 0}}, 1000);
  EXPECT_NEAR(expected_calibration_error(sparse), 0.45, 1e-12);
  EXPECT_NEAR(maximum_calibration_error(sparse), 0.45, 1e-12);
  const ReliabilityBins none = reliability_bins(Top1{}, 10);
  EXPECT_EQ(expected_calibration_error(none), 0);
  EXPECT_EQ(overconfidence_error(none), 0);
  EXPECT_EQ(maximum_calibration_error(none), 0);
  EXPECT_EQ(adaptive_calibration_error(Top1{}, 10), 0);
  EXPECT_THROW(reliability_bins(Top1{}, 0), c10::Error);
}

TEST(Calibration, AdaptiveGroupsAreAsEqualAsCanBe) {
  // Five samples in two groups: the first gets three. Ascending: .2 right, .4 wrong, .5 right | .8 right, .9 wrong.
  const Top1 samples{{.9, .2, .5, .4, .8}, {0, 1, 1, 0, 1}};
  const double low = std::abs(2 - (0.2 + 0.4 + 0.5)), high = std::abs(1 - (0.8 + 0.9));
  EXPECT_NEAR(adaptive_calibration_error(samples, 2), (low + high) / 5, 1e-12);
  // More groups than samples: every sample is its own.
  const double each = std::abs(1 - 0.2) + 0.4 + std::abs(1 - 0.5) + std::abs(1 - 0.8) + 0.9;
  EXPECT_NEAR(adaptive_calibration_error(samples, 7), each / 5, 1e-12);
  EXPECT_NEAR(adaptive_calibration_error(samples, 1), std::abs(3 - 2.8) / 5, 1e-12);
}

TEST(Calibration, AdaptiveSharesEqualConfidencesOut) {
  EXPECT_NEAR(adaptive_calibration_error(Top1{{.5, .5, .5, .5}, {1, 1, 0, 0}}, 2), 0, 1e-12);
  EXPECT_NEAR(adaptive_calibration_error(Top1{{.5, .5, .5, .5}, {1, 0, 1, 0}}, 2), 0, 1e-12);
  // A border among equals, in groups of three and two.
  // Ascending .2 right, .5 with 2/3 each, .9 wrong: |1 + 4/3 − 1.2| and |2/3 − 1.4|.
  for (const std::vector<std::uint8_t>& hits :
       {std::vector<std::uint8_t>{1, 1, 0, 1, 0}, {1, 0, 1, 1, 0}, {1, 1, 1, 0, 0}}) {
    const Top1 samples{{.2, .5, .5, .5, .9}, hits};
    EXPECT_NEAR(adaptive_calibration_error(samples, 2), (1 + 4.0 / 3 - 1.2 + 1.4 - 2.0 / 3) / 5, 1e-12);
  }
}

// Confidences of few values, so that nearly all are tied, in many orders of the samples.
TEST(Calibration, TheOrderOfSamplesDoesNotMatter) {
  std::mt19937 random(3);
  std::vector<std::pair<double, std::uint8_t>> pairs;
  for (int i = 0; i < 200; ++i) pairs.emplace_back(.1 * static_cast<double>(1 + random() % 9), random() % 2);
  std::optional<std::pair<double, double>> first;
  for (int order = 0; order < 20; ++order) {
    std::shuffle(pairs.begin(), pairs.end(), random);
    Top1 samples;
    for (const auto& [confidence, hit] : pairs) {
      samples.confidences.push_back(confidence);
      samples.hits.push_back(hit);
    }
    const std::pair now{adaptive_calibration_error(samples, 15), area_under_risk_coverage(samples)};
    if (!first) first = now;
    EXPECT_EQ(now, *first) << "order " << order;
  }
}

TEST(Calibration, ClasswiseIsTheMeanOverClasses) {
  // Two classes, two bins. p_0: .9 (is 0), .7 (is 1), .2 (is 1); p_1 = 1 − p_0.
  const at::Tensor probs = at::tensor({.9, .1, .7, .3, .2, .8}, at::kDouble).view({3, 2});
  const at::Tensor labels = at::tensor({0, 1, 1}, at::kLong);
  // Class 0: (.5, 1] holds .9 hit and .7 miss: |1 − 1.6|; (0, .5] holds .2 miss: .2.
  // Class 1: (0, .5] holds .1 miss and .3 hit: |1 − .4|; (.5, 1] holds .8 hit: .2.
  EXPECT_NEAR(classwise_calibration_error(probs, labels, 2), ((0.6 + 0.2) / 3 + (0.6 + 0.2) / 3) / 2, 1e-12);
}

TEST(Calibration, ClasswiseIsSummedInTheSamplesOrder) {
  const at::Tensor probs = (3 * at::randn({300, 37}, at::kDouble)).softmax(1);
  const at::Tensor labels = at::randint(37, {300}, at::kLong);
  for (const int num_bins : {1, 2, 15, 100}) {
    std::vector<double> sums(num_bins * 37);
    for (std::int64_t i = 0; i < 300; ++i)
      for (std::int64_t k = 0; k < 37; ++k) {
        const double p = probs[i][k].item<double>();
        int bin = 0;
        while (p > bin_edge(bin + 1, num_bins)) ++bin;
        sums[bin * 37 + k] += (labels[i].item<std::int64_t>() == k ? 1 : 0) - p;
      }
    double error = 0;
    for (const double sum : sums) error += std::abs(sum);
    EXPECT_EQ(classwise_calibration_error(probs, labels, num_bins), error / (300 * 37)) << num_bins;
  }
}

TEST(Top1, OfEqualProbabilitiesTheLowestClassIsTheAnswer) {
  const at::Tensor probs = at::tensor({.4, .4, .2, .2, .4, .4}, at::kFloat).view({2, 3});
  EXPECT_THAT(top1(probs, at::tensor({0, 2}, at::kLong)).hits, ElementsAre(1, 0));
  EXPECT_TRUE(probs.argmax(1).equal(at::tensor({0, 1}, at::kLong))) << "as LibTorch has it";
  EXPECT_THROW(top1(probs, at::tensor({0}, at::kLong)), c10::Error);
}

TEST(RiskCoverage, MatchesHandArithmetic) {
  // By confidence: right, wrong, right, wrong. Risks 0, 1/2, 1/3, 1/2; three trapezoids of width 1/4 over width 3/4.
  const double area = ((0 + 0.5) / 2 + (0.5 + 1.0 / 3) / 2 + (1.0 / 3 + 0.5) / 2) / 4;
  EXPECT_NEAR(area_under_risk_coverage(top1(four_samples(), four_labels())), area / 0.75, 1e-12);
}

TEST(RiskCoverage, SingleSamplesPerfectOrderAndTies) {
  EXPECT_EQ(area_under_risk_coverage(Top1{{.9}, {1}}), 0);
  EXPECT_EQ(area_under_risk_coverage(Top1{{.9}, {0}}), 1);
  EXPECT_EQ(area_under_risk_coverage(Top1{{.1, .9, .5}, {1, 1, 1}}), 0);
  // Equals count their mean error: risks 1/2, 1/2.
  EXPECT_NEAR(area_under_risk_coverage(Top1{{.5, .5}, {1, 0}}), 0.5, 1e-12);
  EXPECT_NEAR(area_under_risk_coverage(Top1{{.5, .5}, {0, 1}}), 0.5, 1e-12);
  // .9 wrong, then three equals of which one errs: risks 1, (1 + 1/3)/2, (1 + 2/3)/3, 2/4.
  const double tied = ((1 + 2.0 / 3) / 2 + (2.0 / 3 + 5.0 / 9) / 2 + (5.0 / 9 + 0.5) / 2) / 3;
  EXPECT_NEAR(area_under_risk_coverage(Top1{{.5, .9, .5, .5}, {1, 0, 0, 1}}), tied, 1e-12);
  EXPECT_NEAR(area_under_risk_coverage(Top1{{.5, .9, .5, .5}, {0, 0, 1, 1}}), tied, 1e-12);
  EXPECT_THROW(area_under_risk_coverage(Top1{}), c10::Error);
}

}  // namespace
}  // namespace ekd

#include "ekd/metrics/statistics.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "ekd/core/random.h"
#include "ekd/metrics/calibration.h"
#include "tests/models/golden.h"

namespace ekd {
namespace {

Top1 golden_answers(const std::string& name) {
  const TensorFile file = golden_tensors("predictions_" + name);
  return top1(file.at("logits").to(at::kDouble).softmax(1), file.at("labels"));
}

// Confidences over (.2, 1), hits with that probability less `over`.
Top1 drawn_answers(std::int64_t n, double over) {
  const CountedRandom random(7, RandomStream::kSynthetic);
  Top1 answers;
  for (std::int64_t i = 0; i < n; ++i) {
    answers.confidences.push_back(1 - 0.8 * std::pow(random.uniform(0, static_cast<std::uint32_t>(i), 0), 2));
    answers.hits.push_back(random.uniform(0, static_cast<std::uint32_t>(i), 1) < answers.confidences.back() - over);
  }
  return answers;
}

double ece(const Top1& answers, int bins) { return expected_calibration_error(reliability_bins(answers, bins)); }

TEST(Summary, MatchesHandArithmetic) {
  const Summary three = summarise({1, 2, 6});  // deviations −2, −1, 3: 14 over 2
  EXPECT_DOUBLE_EQ(three.mean, 3);
  EXPECT_DOUBLE_EQ(three.std.value(), std::sqrt(7.0));
  const Summary one = summarise({0.7});
  EXPECT_DOUBLE_EQ(one.mean, 0.7);
  EXPECT_FALSE(one.std.has_value());
  EXPECT_THROW(summarise({}), c10::Error);
}

TEST(Quantile, IsNumpysDefault) {
  // Positions .025 · 3 = .075 and .975 · 3 = 2.925 in (1, 2, 4, 8).
  EXPECT_DOUBLE_EQ(quantile({8, 1, 4, 2}, 0.025), 1.075);
  EXPECT_DOUBLE_EQ(quantile({8, 1, 4, 2}, 0.975), 4 + 0.925 * 4);
  EXPECT_DOUBLE_EQ(quantile({8, 1, 4, 2}, 0.5), 3);
  EXPECT_DOUBLE_EQ(quantile({8, 1, 4, 2}, 1), 8);
  EXPECT_DOUBLE_EQ(quantile({5}, 0.3), 5);
}

TEST(Resampling, DrawsEachImageOnceOnAverage) {
  constexpr std::size_t kImages = 1000;
  std::vector<std::uint32_t> times(kImages), sums(kImages);
  double squares = 0;
  for (int round = 0; round < 400; ++round) {
    draw_images(round, {}, times);
    ASSERT_EQ(std::accumulate(times.begin(), times.end(), 0U), kImages);
    for (std::size_t i = 0; i < kImages; ++i) {
      sums[i] += times[i];
      squares += times[i] * times[i];
    }
  }
  // Binomial(1000, 1/1000): mean 1, mean square 1 + .999, its standard error over 400,000 counts about .005.
  EXPECT_NEAR(squares / 400 / kImages, 1.999, 0.02);
  for (const auto sum : sums) EXPECT_NEAR(sum, 400, 6 * 20);  // standard deviation 20
}

TEST(BootstrapMeans, AgreesWithTheBinomialInterval) {
  std::vector<double> hits(2'000, 0), constant(2'000, 0.25);
  for (std::size_t i = 0; i < 1'500; ++i) hits[i] = 1;
  const auto spreads = bootstrap_means({hits, constant}, {.rounds = 5'000, .seed = 0});
  const double std = std::sqrt(0.75 * 0.25 / 2'000);  // .00968
  // 5,000 rounds know a standard deviation to 1/√10,000 = 1 %, a 2.5 % quantile to .038 standard deviations.
  EXPECT_NEAR(spreads[0].std, std, 0.04 * std);
  EXPECT_NEAR(spreads[0].low, 0.75 - 1.96 * std, 0.15 * std);
  EXPECT_NEAR(spreads[0].high, 0.75 + 1.96 * std, 0.15 * std);
  EXPECT_NEAR(spreads[1].low, 0.25, 1e-12);
  EXPECT_NEAR(spreads[1].high, 0.25, 1e-12);
  EXPECT_NEAR(spreads[1].std, 0, 1e-12);
}

TEST(BootstrapCalibration, AgreesWithAPlainBootstrap) {
  const Top1 answers = golden_answers("overconfident");
  const ResamplingOptions options{.rounds = 300, .seed = 3};
  std::vector<double> eces, oes;
  std::vector<std::uint32_t> times(answers.size());
  for (int round = 0; round < options.rounds; ++round) {  // the same draws through reliability_bins
    draw_images(round, options, times);
    Top1 drawn;
    for (std::size_t i = 0; i < answers.size(); ++i) {
      drawn.confidences.insert(drawn.confidences.end(), times[i], answers.confidences[i]);
      drawn.hits.insert(drawn.hits.end(), times[i], answers.hits[i]);
    }
    eces.push_back(ece(drawn, 100));
    oes.push_back(overconfidence_error(reliability_bins(drawn, 100)));
  }
  const auto check = [&](const Spread& spread, const std::vector<double>& values, double estimate) {
    const double shift = estimate - summarise(values).mean;
    EXPECT_NEAR(spread.low, quantile(values, 0.025) + shift, 1e-10);
    EXPECT_NEAR(spread.high, quantile(values, 0.975) + shift, 1e-10);
    EXPECT_NEAR(spread.std, *summarise(values).std, 1e-10);
    EXPECT_LT(spread.low, estimate);
    EXPECT_GT(spread.high, estimate);
  };
  const auto spreads = bootstrap_calibration({answers}, {15, 100}, options);
  const CalibrationSpread& spread = spreads.at({"ece", 100});
  check(spread.mean, eces, ece(answers, 100));
  check(spreads.at({"oe", 100}).mean, oes, overconfidence_error(reliability_bins(answers, 100)));
  EXPECT_NEAR(spread.member_std, spread.mean.std, 1e-12) << "one member is the mean of the members";
}

TEST(BootstrapCalibration, CoversTheSpreadOverTestSets) {
  // 40 test sets of one miscalibrated network: their ECEs scatter as the bootstrap of one of them says.
  std::vector<double> eces;
  const Top1 all = drawn_answers(40 * 2'000, 0.08);
  for (std::size_t set = 0; set < 40; ++set) {
    Top1 one;
    one.confidences.assign(all.confidences.begin() + set * 2'000, all.confidences.begin() + (set + 1) * 2'000);
    one.hits.assign(all.hits.begin() + set * 2'000, all.hits.begin() + (set + 1) * 2'000);
    eces.push_back(ece(one, 15));
    if (set == 0) {
      const Spread spread = bootstrap_calibration({one}, {15}).at({"ece", 15}).mean;
      EXPECT_LT(spread.low, ece(one, 15));
      EXPECT_GT(spread.high, ece(one, 15));
    }
  }
  Top1 first;
  first.confidences.assign(all.confidences.begin(), all.confidences.begin() + 2'000);
  first.hits.assign(all.hits.begin(), all.hits.begin() + 2'000);
  const double std = *summarise(eces).std;  // known to 1/√78 = 11 %
  EXPECT_NEAR(bootstrap_calibration({first}, {15}).at({"ece", 15}).mean.std, std, 0.4 * std);
}

TEST(BootstrapCalibration, ResamplesMembersTogether) {
  const Top1 answers = golden_answers("overconfident");
  const MetricKey ece15{"ece", 15}, oe15{"oe", 15};
  const auto one = bootstrap_calibration({answers}, {15}), twice = bootstrap_calibration({answers, answers}, {15});
  EXPECT_NEAR(twice.at(ece15).mean.std, one.at(ece15).mean.std, 1e-12) << "the same member twice tells nothing new";
  EXPECT_NEAR(twice.at(ece15).mean.low, one.at(ece15).mean.low, 1e-12);
  EXPECT_NEAR(twice.at(oe15).member_std, one.at(oe15).mean.std, 1e-12);
  const auto other = bootstrap_calibration({answers, golden_answers("underconfident")}, {15}).at(ece15);
  EXPECT_LT(other.mean.std, one.at(ece15).mean.std + other.member_std);
  EXPECT_THROW(bootstrap_calibration({answers, drawn_answers(3, 0)}, {15}), c10::Error);
  EXPECT_THROW(bootstrap_calibration({}, {15}), c10::Error);
}

TEST(CalibrationFloor, MatchesTheExpectedAbsoluteDeviation) {
  // 50 images of confidence 1/2 in one bin: E|hits − 25| / 50 of a Binomial(50, 1/2) = C(50, 25) / 2^51 = .0561376.
  // Its standard deviation is about .6 · √(.25/50) = .043, the standard error of 20,000 rounds .0003.
  const Top1 answers{std::vector<double>(50, 0.5), std::vector<std::uint8_t>(50, 0)};
  const double expected = std::exp(std::lgamma(51) - 2 * std::lgamma(26) - 51 * std::log(2.0));
  ASSERT_NEAR(expected, 0.0561376, 1e-7);
  const CalibrationFloor floor = calibration_floor({answers}, {10}, {.rounds = 20'000, .seed = 0}).at({"ece", 10});
  EXPECT_NEAR(floor.members.at(0), expected, 0.0015);
  EXPECT_NEAR(floor.low, 0, 1e-12);       // 11 % of the rounds hit exactly 25 times
  EXPECT_NEAR(floor.high, 0.14, 0.0201);  // ±7 hits of 50: P(|X − 25| > 7) = 3.3 %, with > 6: 6.5 %
}

TEST(CalibrationFloor, NeedsNoHits) {
  Top1 answers = golden_answers("overconfident");
  const auto before = calibration_floor({answers}, {15, 100});
  answers.hits.assign(answers.size(), 0);
  EXPECT_EQ(calibration_floor({answers}, {15, 100}).at({"ece", 100}).members, before.at({"ece", 100}).members);
  EXPECT_GT(before.at({"ece", 100}).members[0], before.at({"ece", 15}).members[0]);
  const Top1 certain{{1, 1, 0}, {0, 0, 1}};
  EXPECT_EQ(calibration_floor({certain}, {15}).at({"ece", 15}).high, 0) << "confidence 1 always hits, 0 never";
}

TEST(CalibrationFloor, IsWhatACalibratedNetworkShows) {
  const Top1 answers = drawn_answers(10'000, 0);
  const CalibrationFloor floor = calibration_floor({answers}, {100}).at({"ece", 100});
  EXPECT_GT(ece(answers, 100), floor.low);
  EXPECT_LT(ece(answers, 100), floor.high);
  EXPECT_GT(ece(drawn_answers(10'000, 0.05), 100), floor.high);
}

TEST(Statistics, DoNotDependOnThreads) {
  const std::vector<Top1> members{golden_answers("overconfident"), golden_answers("underconfident")};
  const int threads = at::get_num_threads();
  const auto all = [&] {
    const auto spreads = bootstrap_calibration(members, {15});
    const CalibrationSpread &ece15 = spreads.at({"ece", 15}), &oe15 = spreads.at({"oe", 15});
    const auto floor = calibration_floor(members, {15}).at({"ece", 15});
    const auto mean = bootstrap_means({members[0].confidences}).at(0);
    return std::vector<double>{ece15.mean.low, oe15.mean.high, oe15.member_std, floor.members[1],
                               floor.low,      mean.low,       mean.std};
  };
  at::set_num_threads(1);
  const auto one = all();
  at::set_num_threads(3);
  EXPECT_EQ(all(), one);
  at::set_num_threads(threads);
}

}  // namespace
}  // namespace ekd

// Every metric against the reference values made with NumPy.
#include <gtest/gtest.h>

#include "ekd/metrics/evaluate.h"
#include "ekd/metrics/temperature.h"
#include "tests/models/golden.h"

namespace ekd {
namespace {

constexpr double kTolerance = 1e-6;

void expect_metrics(const Metrics& metrics, const nlohmann::json& expected) {
  EXPECT_EQ(metrics.n, expected.at("n").get<std::int64_t>());
  const auto expect = [](double value, const nlohmann::json& object, const std::string& key) {
    EXPECT_NEAR(value, object.at(key).get<double>(), kTolerance) << key;
  };
  expect(metrics.at("accuracy"), expected, "accuracy");
  expect(metrics.at("top5"), expected, "top5");
  expect(metrics.at("nll"), expected, "nll");
  expect(metrics.at("brier"), expected, "brier");
  expect(metrics.at("mean_confidence"), expected, "mean_confidence");
  expect(metrics.at("aurc"), expected, "aurc");
  for (const int bins : {10, 15, 100}) {
    SCOPED_TRACE(bins);
    const nlohmann::json& at = expected.at("bins" + std::to_string(bins));
    expect(metrics.at("ece", bins), at, "ece");
    expect(metrics.at("oe", bins), at, "oe");
    expect(metrics.at("mce", bins), at, "mce");
    expect(metrics.at("adaptive_ece", bins), at, "adaptive_ece");
    expect(metrics.at("classwise_ece", bins), at, "classwise_ece");
  }
}

class GoldenPredictions : public testing::TestWithParam<std::string> {};

TEST_P(GoldenPredictions, EveryMetricMatches) {
  const std::string name = "predictions_" + GetParam();
  const TensorFile file = golden_tensors(name);
  expect_metrics(compute_metrics(log_probabilities(file.at("logits")), file.at("labels"), {10, 15, 100}),
                 golden_numbers(name));
}

INSTANTIATE_TEST_SUITE_P(Metrics, GoldenPredictions,
                         testing::Values("overconfident", "nearly_calibrated", "underconfident"),
                         [](const auto& test) { return test.param; });

TEST(GoldenEnsemble, WeightedMeansOfProbabilitiesMatch) {
  const TensorFile file = golden_tensors("ensemble");
  std::vector<at::Tensor> members;
  for (const at::Tensor& logits : file.at("logits").unbind()) members.push_back(log_probabilities(logits));
  const auto evaluate = [&](const std::vector<double>& weights) {
    return compute_metrics(ensemble_log_probabilities(members, weights), file.at("labels"), {10, 15, 100});
  };
  expect_metrics(evaluate({1, 1, 1, 1, 1}), golden_numbers("ensemble_1_1_1_1_1"));
  expect_metrics(evaluate({5, 1, 5, 1, 1}), golden_numbers("ensemble_5_1_5_1_1"));
}

TEST(GoldenTemperature, MatchesTheGridSearch) {
  const TensorFile file = golden_tensors("predictions_overconfident");
  const nlohmann::json expected = golden_numbers("temperature_overconfident");
  const TemperatureFit fit = fit_temperature(file.at("logits"), file.at("labels"));
  EXPECT_NEAR(fit.temperature, expected.at("temperature").get<double>(), 0.003);
  EXPECT_NEAR(fit.nll, expected.at("nll").get<double>(), 1e-5);
  const Metrics scaled = compute_metrics(log_probabilities(file.at("logits"), fit.temperature), file.at("labels"), {});
  EXPECT_NEAR(scaled.at("nll"), fit.nll, 1e-12) << "the fit's NLL is that of the scaled probabilities";
}

}  // namespace
}  // namespace ekd

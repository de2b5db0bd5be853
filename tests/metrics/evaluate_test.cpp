#include "ekd/metrics/evaluate.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/full.h>
#include <ATen/ops/multinomial.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/randperm.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>

#include "ekd/core/error.h"
#include "ekd/core/types.h"
#include "ekd/metrics/calibration.h"
#include "ekd/metrics/registry.h"
#include "ekd/metrics/temperature.h"

namespace ekd {
namespace {

at::Tensor two_by_two(double a, double b, double c, double d) {
  return at::tensor({a, b, c, d}, at::kDouble).view({2, 2});
}

TEST(Evaluate, MatchesHandArithmetic) {
  // (.8, .2) with label 0 and (.6, .4) with label 1.
  const Metrics metrics = compute_metrics(two_by_two(.8, .2, .6, .4).log(), at::tensor({0, 1}, at::kLong), {2});
  EXPECT_EQ(metrics.n, 2);
  EXPECT_DOUBLE_EQ(metrics.at("accuracy"), 0.5);
  EXPECT_DOUBLE_EQ(metrics.at("top5"), 1) << "two classes: every label is among five";
  EXPECT_NEAR(metrics.at("nll"), -(std::log(0.8) + std::log(0.4)) / 2, 1e-12);
  EXPECT_NEAR(metrics.at("brier"), (2 * 0.2 * 0.2 + 2 * 0.6 * 0.6) / 2, 1e-12);
  EXPECT_NEAR(metrics.at("mean_confidence"), 0.7, 1e-12);
  EXPECT_NEAR(metrics.at("aurc"), (0 + 0.5) / 2, 1e-12);  // risks 0, 1/2: one trapezoid of width 1/2 over 1/2
  ASSERT_EQ(to_json(metrics).at("calibration").size(), 1U);
  EXPECT_NEAR(metrics.at("ece", 2), 0.7 - 0.5, 1e-12);  // both in (.5, 1]
  EXPECT_NEAR(metrics.at("oe", 2), 0.7 * 0.2, 1e-12);
  EXPECT_NEAR(metrics.at("mce", 2), 0.2, 1e-12);
  EXPECT_NEAR(metrics.at("adaptive_ece", 2), (0.6 + 0.2) / 2, 1e-12);  // .6 wrong alone, .8 right alone
  EXPECT_NEAR(metrics.at("classwise_ece", 2), 0.4 / 2, 1e-12);  // both classes: |1 − 1.4| and |1 − .6| over 2
}

TEST(Evaluate, NllSurvivesUnderflow) {
  // exp(−2000) is 0 in doubles, its logarithm is not.
  const at::Tensor logits = at::tensor({2000.0F, 0.0F}).view({1, 2});
  const Metrics metrics = compute_metrics(log_probabilities(logits), at::tensor({1}, at::kLong), {15});
  EXPECT_EQ(metrics.at("nll"), 2000);
  EXPECT_EQ(metrics.at("mean_confidence"), 1);
  EXPECT_EQ(metrics.at("brier"), 2);
  EXPECT_EQ(metrics.at("ece", 15), 1) << "a confidence of exactly 1 is counted";
}

TEST(Evaluate, FiveFirstOfMoreClasses) {
  const at::Tensor logits = at::tensor({7, 6, 5, 4, 3, 2, 1}, at::kFloat).view({1, 7}).repeat({7, 1});
  const at::Tensor labels = at::tensor({0, 1, 2, 3, 4, 5, 6}, at::kLong);
  const Metrics metrics = compute_metrics(log_probabilities(logits), labels, {});
  EXPECT_DOUBLE_EQ(metrics.at("accuracy"), 1.0 / 7);
  EXPECT_DOUBLE_EQ(metrics.at("top5"), 5.0 / 7);
  EXPECT_TRUE(to_json(metrics).at("calibration").empty());
  // All equal: the lower class comes first, so labels 0 … 4 are among the five and only 0 is the answer.
  const Metrics flat = compute_metrics(log_probabilities(at::zeros({7, 7})), labels, {});
  EXPECT_DOUBLE_EQ(flat.at("accuracy"), 1.0 / 7);
  EXPECT_DOUBLE_EQ(flat.at("top5"), 5.0 / 7);
  EXPECT_NEAR(flat.at("nll"), std::log(7.0), 1e-12);
}

TEST(Evaluate, OneSampleAndManyBins) {
  const Metrics metrics =
      compute_metrics(log_probabilities(at::zeros({1, 4})), at::tensor({0}, at::kLong), {1, 15, 100});
  EXPECT_EQ(metrics.at("aurc"), 0);
  for (const int bins : {1, 15, 100}) {
    EXPECT_NEAR(metrics.at("ece", bins), 0.75, 1e-12) << bins;
    EXPECT_NEAR(metrics.at("adaptive_ece", bins), 0.75, 1e-12) << bins;
    EXPECT_NEAR(metrics.at("classwise_ece", bins), (0.75 + 3 * 0.25) / 4, 1e-12) << bins;
  }
}

TEST(Evaluate, AgreesWithTheFunctionsOfCalibration) {
  const at::Tensor log_probs = log_probabilities(3 * at::randn({503, 11})), labels = at::randint(11, {503}, at::kLong);
  const Metrics metrics = compute_metrics(log_probs, labels, {15});
  const at::Tensor probs = log_probs.exp();
  const ReliabilityBins bins = reliability_bins(probs, labels, 15);
  EXPECT_DOUBLE_EQ(metrics.at("ece", 15), expected_calibration_error(bins));
  EXPECT_NEAR(metrics.at("adaptive_ece", 15), adaptive_calibration_error(top1(probs, labels), 15), 1e-12);
  EXPECT_NEAR(metrics.at("accuracy"), (probs.argmax(1) == labels).to(at::kDouble).mean().item<double>(), 1e-12);
}

// k equal logits: 1/k is the edge above the first of k bins, and the j-th edge of j · k.
TEST(Evaluate, EqualLogitsLieOnABinsEdge) {
  for (int k = 1; k <= 100; ++k) {
    for (const double level : {0.0, -std::log(double(k)), 1e8, -3.3}) {
      at::Tensor logits = at::zeros({1, 103}, at::kDouble) + level;
      logits.slice(1, k).fill_(-std::numeric_limits<double>::infinity());
      const Top1 sample = top1_of_logits(scaled_logits(logits, 1.7), at::tensor({0}, at::kLong));
      EXPECT_EQ(sample.confidences[0], 1.0 / k) << k << " at " << level;
      for (const int j : {1, 2, 3, 7})
        EXPECT_EQ(reliability_bins(sample, j * k).counts[j - 1], 1) << j << " * " << k << " bins";
    }
  }
}

TEST(Evaluate, ClassesOnAnEdgeStayInTheLowerBin) {
  for (int k = 3; k <= 100; ++k) {
    // Class 0: 1/k, which is not the label, and 1.4/k, which is: in two bins, with 1/k and 1 − 1.4/k to the error.
    const double p = 1.4 / k, q = (1 - p) / (k - 1);
    at::Tensor probs = at::full({2, k}, 1.0, at::kDouble);
    probs[1].fill_(q);
    probs[1][0] = p;
    const Metrics metrics = compute_metrics(probs.log(), at::tensor({1, 0}, at::kLong), {k});
    const double first = 1.0 / k + 1 - p, second = std::abs(1 - 1.0 / k - q), rest = (k - 2) * (1.0 / k + q);
    EXPECT_NEAR(metrics.at("classwise_ece", k), (first + second + rest) / 2 / k, 1e-12) << k;
    EXPECT_NEAR(metrics.at("ece", k), (1.0 / k + 1 - p) / 2, 1e-12) << k;
  }
}

TEST(Evaluate, TheSameLogitsInAnotherOrderAreAsSure) {
  const at::Tensor logits = 4 * at::randn({50, 100}, at::kDouble);
  const at::Tensor other = logits.index_select(1, at::randperm(100));
  EXPECT_TRUE(probabilities(logits).amax(1).equal(probabilities(other).amax(1)));
  EXPECT_TRUE(at::allclose(probabilities(logits), log_probabilities(logits).exp(), 1e-12, 0));
}

// What doubles tell apart counts, where their probabilities are the same double, too.
TEST(Evaluate, HitsAreToldFromTheLogits) {
  const at::Tensor labels = at::randint(10, {200}, at::kLong);
  const at::Tensor best = at::zeros({200, 10}, at::kDouble).scatter(1, labels.unsqueeze(1), 1);
  for (const double scale : {1e-300, 1e-20, 1e-9, 1.0, 1e9, 1e300}) {
    const Metrics metrics = compute_metrics(scaled_logits(best * scale), labels, {15});
    EXPECT_EQ(metrics.at("accuracy"), 1) << scale;
    EXPECT_NEAR(metrics.at("ece", 15), 1 - metrics.at("mean_confidence"), 1e-12) << scale;
  }
  EXPECT_EQ(compute_metrics(scaled_logits(1e12 + 1e-3 * best), labels, {}).at("accuracy"), 1);
}

TEST(Evaluate, RefusesWhatDoesNotFit) {
  const at::Tensor log_probs = log_probabilities(at::randn({3, 4})), labels = at::tensor({0, 1, 2}, at::kLong);
  EXPECT_THROW(compute_metrics(log_probs.to(at::kFloat), labels, {15}), c10::Error);
  EXPECT_THROW(compute_metrics(log_probs, labels.narrow(0, 0, 2), {15}), c10::Error);
  EXPECT_THROW(compute_metrics(log_probs, labels + 2, {15}), c10::Error);
  EXPECT_THROW(compute_metrics(log_probs, labels, {0}), c10::Error);
  const at::Tensor broken = log_probs.clone();
  broken[1][2] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THROW(compute_metrics(broken, labels, {15}), NonFiniteError);
}

TEST(Metrics, EveryRowComesThroughJson) {
  const Metrics metrics =
      compute_metrics(log_probabilities(at::randn({30, 7})), at::randint(7, {30}, at::kLong), {3, 20});
  EXPECT_EQ(metrics.values.size(), metric_columns({3, 20}).size());
  const auto json = to_json(metrics);
  for (const auto& row : metric_registry().rows())
    EXPECT_TRUE((row.binned ? json["calibration"]["20"] : json).contains(row.name)) << row.name;
  const Metrics again = metrics_from_json(nlohmann::json::parse(json.dump()));
  EXPECT_EQ(again.n, 30);
  EXPECT_EQ(again.values, metrics.values);
}

TEST(Metrics, WhatJsonLacksIsNotThere) {
  const auto some = metrics_from_json(nlohmann::json::parse(
      R"({"nll": null, "top5": 0.9, "other": 1, "calibration": {"15": {"ece": 0.25, "oe": "x"}, "many": {"ece": 1}}})"));
  EXPECT_EQ(some.values, (std::map<MetricKey, double>{{{"top5"}, 0.9}, {{"ece", 15}, 0.25}}));
  EXPECT_EQ(some.find({"ece", 15}), 0.25);
  EXPECT_FALSE(some.find({"ece", 100}).has_value());
  EXPECT_TRUE(metrics_from_json(nullptr).values.empty());
}

TEST(Metrics, AnImagesNumbersHaveTheMetricAsTheirMean) {
  const at::Tensor log_probs = log_probabilities(at::randn({50, 7})), labels = at::randint(7, {50}, at::kLong);
  const Metrics metrics = compute_metrics(log_probs, labels, {});
  const auto all = image_scores(log_probs, labels);
  EXPECT_GE(all.size(), 5U);
  for (const auto& [name, scores] : all)
    EXPECT_EQ(metrics.at(name), std::accumulate(scores.begin(), scores.end(), 0.0) / 50) << name;
}

// More images than one thread takes at a time, and a number of them that leaves a rest.
TEST(Metrics, NeitherThreadsNorNeighboursChangeABit) {
  const at::Tensor logits = scaled_logits(3 * at::randn({1003, 100})), labels = at::randint(100, {1003}, at::kLong);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto one = compute_metrics(logits, labels, {1, 15, 100}).values;
  const double temperature = fit_temperature(logits, labels).temperature;
  at::set_num_threads(3);
  EXPECT_EQ(compute_metrics(logits, labels, {1, 15, 100}).values, one);
  EXPECT_EQ(fit_temperature(logits, labels).temperature, temperature);
  const auto all = image_scores(logits, labels);
  at::set_num_threads(threads);
  for (const std::int64_t i : {0, 3, 327, 999, 1000, 1002})
    for (const auto& [name, scores] : image_scores(logits.narrow(0, i, 1), labels.narrow(0, i, 1)))
      EXPECT_EQ(scores[0], all.at(name)[i]) << name << " of image " << i;
}

TEST(Ensemble, IsTheWeightedMeanOfProbabilities) {
  const at::Tensor a = two_by_two(.8, .2, .1, .9), b = two_by_two(.4, .6, .5, .5);
  // Weights 3 : 1: (.8·3 + .4)/4 = .7, (.1·3 + .5)/4 = .2.
  const at::Tensor mean = ensemble_log_probabilities({a.log(), b.log()}, {3, 1}).exp();
  EXPECT_TRUE(at::allclose(mean, two_by_two(.7, .3, .2, .8), 1e-12, 1e-12));
  EXPECT_TRUE(at::allclose(ensemble_log_probabilities({a.log(), b.log()}, {0, 2}), b.log(), 1e-12, 1e-12));
  EXPECT_THROW(ensemble_log_probabilities({a, b}, {0, 0}), c10::Error);
  EXPECT_THROW(ensemble_log_probabilities({a, b}, {2, -1}), c10::Error);
  EXPECT_THROW(ensemble_log_probabilities({a, b}, {1}), c10::Error);
  EXPECT_THROW(ensemble_log_probabilities({a, b.narrow(0, 0, 1)}, {1, 1}), c10::Error);
}

TEST(Ensemble, KeepsLogarithmsOfProbabilitiesThatUnderflow) {
  const at::Tensor member = log_probabilities(at::tensor({2000.0F, 0.0F}).view({1, 2}));
  EXPECT_NEAR(ensemble_log_probabilities({member, member}, {1, 1})[0][1].item<double>(), -2000, 1e-9);
}

// Three of four right with a margin of `margin`: σ(margin/T) = 3/4, so T = margin / log 3.
TEST(Temperature, MatchesHandArithmetic) {
  for (const double margin : {0.05, 1.0, 5.0, 300.0}) {
    const at::Tensor logits = at::tensor({margin, 0.0}, at::kDouble).view({1, 2}).repeat({4, 1});
    const TemperatureFit fit = fit_temperature(logits, at::tensor({0, 0, 0, 1}, at::kLong));
    EXPECT_NEAR(fit.temperature, margin / std::log(3.0), 1e-8 * margin) << margin;
    EXPECT_NEAR(fit.nll, -0.75 * std::log(0.75) - 0.25 * std::log(0.25), 1e-12) << margin;
  }
}

TEST(Temperature, IsNotMovedByAConstantAndScalesWithTheLogits) {
  const at::Tensor logits = 4 * at::randn({200, 10}), labels = at::randint(10, {200}, at::kLong);
  const at::Tensor helped = logits.scatter_add(1, labels.unsqueeze(1), at::zeros({200, 1}) + 4);
  const double t = fit_temperature(helped, labels).temperature;
  EXPECT_GT(t, 1);
  EXPECT_NEAR(fit_temperature(helped + 1000, labels).temperature, t, 1e-3) << "float32 keeps 1e-4 of such logits";
  EXPECT_NEAR(fit_temperature(helped / 2, labels).temperature, t / 2, 1e-6);
  EXPECT_NEAR(fit_temperature(log_probabilities(helped), labels).temperature, t, 1e-6);
}

// Predictions of `classes` classes whose best temperature is `sharpness`, within what 2,000 samples know.
Predictions sharpened(double sharpness, std::int64_t classes = 10) {
  const at::Tensor logits = 2 * at::randn({2000, classes}, at::kDouble);
  return {logits * sharpness, logits.softmax(1).multinomial(1).squeeze(1)};
}

TEST(Temperature, IsFoundWhateverTheScale) {
  const Predictions plain = sharpened(1);
  const TemperatureFit one = fit_temperature(plain.logits, plain.labels);
  EXPECT_NEAR(one.temperature, 1, 0.1);
  for (const double scale : {1e-200, 1e-30, 1e-8, 1e-4, 1e-2, 1e3, 1e4, 1e8, 1e30, 1e200}) {
    const TemperatureFit fit = fit_temperature(plain.logits * scale, plain.labels);
    EXPECT_NEAR(fit.temperature / scale / one.temperature, 1, 1e-8) << scale;
    EXPECT_NEAR(fit.nll, one.nll, 1e-12) << scale;
    EXPECT_EQ(bound_warning(fit), "") << scale;
  }
}

TEST(Temperature, AFewRowsOfAnotherScaleDoNotHideTheMinimum) {
  for (const double scale : {1e-7, 1e7}) {
    const Predictions mixed = sharpened(1);
    mixed.logits.slice(0, 0, 3) *= scale;
    mixed.labels.slice(0, 0, 3).copy_(mixed.logits.slice(0, 0, 3).argmax(1));  // else there may be no minimum
    const TemperatureFit fit = fit_temperature(mixed.logits, mixed.labels);
    EXPECT_EQ(bound_warning(fit), "");
    const auto nll = [&](double t) {
      return compute_metrics(scaled_logits(mixed.logits, t), mixed.labels, {}).at("nll");
    };
    for (const double factor : {0.9, 0.999, 1.001, 1.1}) EXPECT_GT(nll(fit.temperature * factor), fit.nll) << scale;
  }
}

TEST(Temperature, SaysWhereTheMinimumLiesBeyondTheBounds) {
  for (const double scale : {1e-6, 1.0, 1e6}) {
    const at::Tensor logits = (at::tensor({3.0, 0.0}, at::kDouble) * scale).view({1, 2}).repeat({2, 1});
    const TemperatureFit right = fit_temperature(logits, at::tensor({0, 0}, at::kLong));
    EXPECT_NEAR(right.temperature, 3 * scale / kTemperatureReach, 1e-9 * scale);
    EXPECT_NE(bound_warning(right).find("every sample is right"), std::string::npos);
    const TemperatureFit wrong = fit_temperature(logits, at::tensor({1, 1}, at::kLong));
    EXPECT_NEAR(wrong.temperature, 3 * scale * kTemperatureReach, 1e-6 * scale);
    EXPECT_NEAR(wrong.nll, std::log1p(std::exp(1 / kTemperatureReach)), 1e-12);
    EXPECT_NE(bound_warning(wrong).find("no better than chance"), std::string::npos);
  }
  const TemperatureFit same = fit_temperature(at::zeros({2, 3}), at::tensor({1, 1}, at::kLong));
  EXPECT_DOUBLE_EQ(same.temperature, 1) << "no T matters";
  EXPECT_EQ(bound_warning(same), "");
}

TEST(Temperature, RefusesNumbersThatAreNotFinite) {
  const double infinity = std::numeric_limits<double>::infinity();
  const at::Tensor labels = at::tensor({0, 1}, at::kLong);
  EXPECT_THROW(fit_temperature(two_by_two(1, std::nan(""), 0, 1), labels), NonFiniteError);
  EXPECT_THROW(fit_temperature(two_by_two(1, infinity, 0, 1), labels), NonFiniteError);
  EXPECT_THROW(fit_temperature(two_by_two(1, 0, 0, -infinity), labels), NonFiniteError);
  EXPECT_TRUE(std::isfinite(fit_temperature(two_by_two(1, -infinity, 2, 1), labels).nll))
      << "a class that is ruled out";
  EXPECT_THROW(fit_temperature(two_by_two(1, 0, 0, 1), labels.to(at::kInt)), c10::Error);
}

}  // namespace
}  // namespace ekd

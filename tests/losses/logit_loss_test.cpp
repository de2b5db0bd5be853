// What the definitions of the losses on logits imply, and how teachers combine in them.
#include "losses/logit_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>
#include <spdlog/fmt/fmt.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <set>

#include "ekd/core/error.h"
#include "tests/losses/losses.h"
#include "tests/support/expect_error.h"

namespace ekd {
namespace {

constexpr std::int64_t kBatch = 8, kClasses = 10;

std::vector<DistillationLossRow> logit_rows() {
  std::vector<DistillationLossRow> rows = distillation_loss_registry().rows();
  std::erase_if(rows, [](const auto& row) { return row.needs.features; });
  return rows;
}

LossCase random_case(std::size_t teachers = 1) {
  LossCase asked{2 * at::randn({kBatch, kClasses}), {}, at::randint(kClasses, {kBatch}, at::kLong)};
  for (std::size_t k = 0; k < teachers; ++k) asked.teachers.push_back(3 * at::randn({kBatch, kClasses}));
  return asked;
}

struct Answer {
  double value = 0;
  at::Tensor gradient;  // by the student's logits
};

Answer answer(const DistillConfig& config, LossCase asked) {
  asked.student = asked.student.detach().clone().requires_grad_();
  const at::Tensor loss = loss_terms(config, asked).total();
  loss.backward();
  return {loss.item<double>(), asked.student.grad()};
}

double value_of(const DistillConfig& config, const LossCase& asked) {
  return loss_terms(config, asked).total().item<double>();
}

double part_of(const DistillConfig& config, const LossCase& asked, const std::string& name) {
  for (const auto& term : loss_terms(config, asked).terms)
    if (term.name == name) return term.value.item<double>();
  ADD_FAILURE() << config.loss << " has no part " << name;
  return 0;
}

void expect_same(const Answer& a, const Answer& b, const std::string& what, double tolerance = 2e-5) {
  EXPECT_NEAR(a.value, b.value, tolerance * (std::abs(b.value) + 1e-3)) << what;
  const double largest = b.gradient.abs().max().item<double>();
  EXPECT_LE((a.gradient - b.gradient).abs().max().item<double>(), 5 * tolerance * largest + 1e-7) << what;
}

TEST(LogitLoss, NoLossSeesAConstantAddedToASamplesLogits) {
  const LossCase asked = random_case();
  LossCase shifted = asked;
  shifted.student = shifted.student + at::randn({kBatch, 1});
  shifted.teachers[0] = shifted.teachers[0] + 4;
  for (const auto& row : logit_rows())
    expect_same(answer(published_config(row), shifted), answer(published_config(row), asked), row.name);
}

TEST(LogitLoss, NoLossSeesTheOrderOfClassesOrSamples) {
  const LossCase asked = random_case();
  const at::Tensor order = at::tensor({7, 2, 9, 0, 4, 1, 8, 3, 6, 5}, at::kLong), back = order.argsort();
  LossCase classes = asked, samples = asked;
  classes.student = asked.student.index_select(1, order);
  classes.teachers[0] = asked.teachers[0].index_select(1, order);
  classes.labels = back.index_select(0, asked.labels);
  samples.student = asked.student.flip(0);
  samples.teachers[0] = asked.teachers[0].flip(0);
  samples.labels = asked.labels.flip(0);
  for (const auto& row : logit_rows()) {
    const DistillConfig config = published_config(row);
    const Answer plain = answer(config, asked);
    Answer by_class = answer(config, classes), by_sample = answer(config, samples);
    by_class.gradient = by_class.gradient.index_select(1, back);
    by_sample.gradient = by_sample.gradient.flip(0);
    expect_same(by_class, plain, row.name);
    expect_same(by_sample, plain, row.name);
  }
}

TEST(LogitLoss, TemperatureAndLogitsScaleTogether) {
  const LossCase asked = random_case();
  LossCase scaled = asked;
  scaled.student = 3 * asked.student;
  scaled.teachers[0] = 3 * asked.teachers[0];
  for (const auto* name : {"kd", "dkd", "dist", "gdkd"}) {
    DistillConfig config = published_config(distillation_loss_registry().at(name));
    const double plain = value_of(config, asked);
    config.temperature *= 3;
    EXPECT_NEAR(value_of(config, scaled), 9 * plain, 1e-4 * 9 * plain) << name;
  }
  const DistillConfig nkd = published_config(distillation_loss_registry().at("nkd"));
  DistillConfig hot = nkd;
  hot.temperature *= 3;
  const double non_target = part_of(nkd, asked, "non_target");
  EXPECT_NEAR(part_of(hot, scaled, "non_target"), 9 * non_target, 1e-4 * 9 * non_target);
}

TEST(LogitLoss, StandardisedLossesSeeNoScale) {
  const LossCase asked = random_case();
  LossCase scaled = asked;
  scaled.student = asked.student * at::tensor({.1, .5, 1., 2., 3., 10., 30., 7.}, at::kFloat).unsqueeze(1);
  scaled.teachers[0] = 20 * asked.teachers[0];
  for (const auto* name : {"lskd", "lskd-dkd"}) {
    const DistillConfig config = published_config(distillation_loss_registry().at(name));
    EXPECT_NEAR(value_of(config, scaled), value_of(config, asked), 1e-4 * value_of(config, asked)) << name;
  }
}

TEST(LogitLoss, StandardisedGradientsAreOrthogonalToOnesAndToTheLogits) {
  LossCase asked = random_case();
  asked.student = asked.student.to(at::kDouble);
  for (const auto* name : {"lskd", "lskd-dkd"}) {
    const at::Tensor gradient = answer(published_config(distillation_loss_registry().at(name)), asked).gradient;
    const double size = gradient.abs().max().item<double>();
    EXPECT_LT(gradient.sum(1).abs().max().item<double>(), 1e-12 * size) << name;
    EXPECT_LT((gradient * asked.student).sum(1).abs().max().item<double>(), 1e-6 * size) << name;
  }
}

TEST(LogitLoss, EqualNetworksLoseNothing) {
  const LossCase any = random_case();
  const LossCase equal{any.teachers[0], any.teachers, any.teachers[0].argmax(1)};  // rld: the teacher is right
  for (const auto* name : {"kd", "dkd", "lskd", "lskd-dkd", "dist", "rld", "gdkd", "mlkd"}) {
    const Answer same = answer(published_config(distillation_loss_registry().at(name)), equal);
    EXPECT_NEAR(same.value, 0, 1e-4) << name;
    EXPECT_LT(same.gradient.abs().max().item<double>(), 1e-4) << name;
  }
  for (const auto* name : {"ikl", "gkl"}) {
    const DistillConfig config = published_config(distillation_loss_registry().at(name));
    EXPECT_NEAR(part_of(config, equal, "wmse"), 0, 1e-9) << name;
  }
  DistillConfig ttm = published_config(distillation_loss_registry().at("ttm"));
  EXPECT_GT(value_of(ttm, equal), 0.01);
  ttm.temperature = 1;
  EXPECT_NEAR(value_of(ttm, equal), 0, 1e-6);
}

// Zhao et al., eq. (5), with the teacher's p_y.
TEST(LogitLoss, KdIsDkdWithTheTeachersDoubtAsTheWeightOfEachSample) {
  const LossCase asked = random_case();
  const DistillConfig dkd = published_config(distillation_loss_registry().at("dkd"));
  const DistillConfig kd{.temperature = dkd.temperature};
  const at::Tensor p = at::softmax(asked.teachers[0] / dkd.temperature, 1).gather(1, asked.labels.unsqueeze(1));
  double sum = part_of(dkd, asked, "tckd");
  for (std::int64_t i = 0; i < kBatch; ++i) {
    const LossCase one{
        asked.student.narrow(0, i, 1), {asked.teachers[0].narrow(0, i, 1)}, asked.labels.narrow(0, i, 1)};
    sum += (1 - p[i].item<double>()) * part_of(dkd, one, "nckd") / kBatch;
  }
  EXPECT_NEAR(value_of(kd, asked), sum, 1e-5 * sum);
}

TEST(LogitLoss, IklIsTheSumOverPairsOfClasses) {
  const LossCase asked = random_case();
  const DistillConfig config = published_config(distillation_loss_registry().at("ikl"));
  const at::Tensor d = asked.teachers[0] - asked.student, w = at::softmax(asked.teachers[0] / 100, 1);
  const at::Tensor pairs = (w.unsqueeze(1) * w.unsqueeze(2) * (d.unsqueeze(1) - d.unsqueeze(2)).square()).sum();
  const double expected = pairs.item<double>() / 4 / kBatch;
  EXPECT_NEAR(part_of(config, asked, "wmse"), expected, 1e-5 * expected);
}

TEST(LogitLoss, AMistakenTeacherIsNotFollowedAgainstTheLabelByRld) {
  // The label is the teacher's last: nothing is below it, and the student is only to be as sure as the teacher is.
  LossCase asked = random_case();
  asked.labels = asked.teachers[0].argmin(1);
  const DistillConfig config = published_config(distillation_loss_registry().at("rld"));
  EXPECT_EQ(part_of(config, asked, "mcd"), 0);
  const Answer found = answer(config, asked);
  EXPECT_LT(found.gradient.gather(1, asked.labels.unsqueeze(1)).max().item<double>(), 0);
}

TEST(LogitLoss, WarmUpCountsEpochsFromOne) {
  for (const auto& row : logit_rows()) {
    if (!row.needs.epoch) continue;
    LossCase asked = random_case();
    for (const auto& [done, ramp] : {std::pair(0.0, 0.05), std::pair(0.9, 0.05), std::pair(5.0, 0.3),
                                     std::pair(19.0, 1.0), std::pair(20.0, 1.0), std::pair(300.0, 1.0)}) {
      asked.epochs_done = done;
      for (const auto& term : loss_terms(published_config(row), asked).terms)
        EXPECT_FLOAT_EQ(term.ramp.item<float>(), static_cast<float>(ramp))
            << row.name << ' ' << term.name << ' ' << done;
    }
    DistillConfig at_once = published_config(row);
    for (auto& [name, value] : at_once.loss_settings)
      if (name.ends_with("_warm_up")) value = 1;
    asked.epochs_done = 0;
    EXPECT_EQ(loss_terms(at_once, asked).terms[0].ramp.item<float>(), 1) << row.name;
  }
}

TEST(LogitLoss, FarLogitsGiveFiniteValuesAndGradients) {
  for (const auto& row : logit_rows())
    for (const auto& combination : combination_registry().rows()) {
      if (!goes_with(row, combination)) continue;
      for (const double student : {0.0, 1e4, -1e4})
        for (const double teacher : {1e4, -1e4})
          for (const std::int64_t place : {0, 1}) {  // of the teacher's, with the student's and the labels at 0
            LossCase asked = random_case(2);
            asked.labels.zero_();
            asked.student.select(1, 0) += student;
            for (auto& logits : asked.teachers) logits.select(1, place) += teacher;
            const Answer found = answer(published_config(row, combination.name), asked);
            EXPECT_TRUE(std::isfinite(found.value) && found.gradient.isfinite().all().item<bool>())
                << row.name << ' ' << combination.name << ' ' << student << ' ' << teacher << ' ' << place;
          }
    }
}

TEST(LogitLoss, LogitsWithoutAnyDifferenceGiveFiniteValuesAndGradients) {
  for (const auto& row : logit_rows()) {
    LossCase flat{at::zeros({kBatch, kClasses}), {at::zeros({kBatch, kClasses})}};
    for (const bool teacher : {true, false}) {
      const Answer found = answer(published_config(row), flat);
      EXPECT_TRUE(std::isfinite(found.value) && found.gradient.isfinite().all().item<bool>()) << row.name;
      if (teacher) flat.teachers[0] = at::randn({kBatch, kClasses});
    }
  }
}

TEST(LogitLoss, FewClasses) {
  for (const auto& row : logit_rows()) {
    const LossCase two{at::randn({3, 2}), {at::randn({3, 2})}};
    const Answer found = answer(published_config(row), two);
    EXPECT_TRUE(std::isfinite(found.value) && found.gradient.isfinite().all().item<bool>()) << row.name;
  }
}

TEST(LogitLoss, ComputesInFloat32WhateverComesIn) {
  for (const auto& row : logit_rows()) {
    LossCase narrow = random_case(2);
    narrow.student = narrow.student.to(at::kBFloat16);
    for (auto& logits : narrow.teachers) logits = logits.to(at::kBFloat16);
    LossCase wide = narrow;
    wide.student = narrow.student.to(at::kFloat);
    for (auto& logits : wide.teachers) logits = logits.to(at::kFloat);
    EXPECT_EQ(value_of(published_config(row), narrow), value_of(published_config(row), wide)) << row.name;
  }
}

TEST(LogitLoss, Float32AgreesWithFloat64) {
  for (const auto& row : logit_rows())
    for (const double temperature : {3.0, 50.0}) {
      DistillConfig config = published_config(row);
      config.temperature = temperature;
      LossCase narrow = random_case(2), wide = narrow;
      wide.student = narrow.student.to(at::kDouble);
      Answer exact = answer(config, wide);
      exact.gradient = exact.gradient.to(at::kFloat);
      expect_same(answer(config, narrow), exact, row.name + fmt::format(" at {}", temperature), 1e-4);
    }
}

TEST(LogitLoss, SettingsThatCountAreWhole) {
  const auto change = [](const std::string& loss, const std::string& name, double value) {
    DistillConfig config = published_config(distillation_loss_registry().at(loss));
    config.loss_settings.at(name) = value;
    return config;
  };
  EXPECT_ERROR(value_of(change("gdkd", "gdkd_k", 2.5), random_case()), UsageError, "distill.gdkd_k: takes a whole");
  EXPECT_ERROR(value_of(change("mlkd", "mlkd_spread", 4), random_case()), UsageError, "distill.mlkd_spread");
}

TEST(LogitLoss, WhatComparesClassesNeedsTwo) {
  const LossCase one{at::randn({kBatch, 1}), {at::randn({kBatch, 1})}};
  for (const auto& row : logit_rows()) {
    const DistillConfig config = published_config(row);
    if (std::set<std::string>{"dkd", "gdkd", "lskd", "lskd-dkd", "nkd", "rld"}.contains(row.name)) {
      EXPECT_ERROR(value_of(config, one), UsageError, "--loss " + row.name + " compares classes, and there is one");
    } else {
      EXPECT_TRUE(std::isfinite(value_of(config, one))) << row.name;
    }
  }
}

// Combinations

TEST(Combination, ATeacherTwiceIsThatTeacher) {
  const LossCase once = random_case();
  LossCase twice = once;
  twice.teachers.push_back(once.teachers[0]);
  for (const auto& row : logit_rows())
    for (const auto& combination : combination_registry().rows()) {
      if (!goes_with(row, combination) || combination.name == "sum-softmax") continue;
      const DistillConfig config = published_config(row, combination.name);
      Answer one = answer(config, once);
      const Answer two = answer(config, twice);
      if (combination.name == "add-loss") one = {2 * one.value, 2 * one.gradient};
      expect_same(two, one, row.name + " " + combination.name);
    }
}

TEST(Combination, WeightsAreFactorsOfSumsAndSharesOfMeans) {
  LossCase both = random_case(2);
  for (const auto& row : logit_rows()) {
    both.teacher_weights = {3, 1};
    const Answer added = answer(published_config(row, "add-loss"), both);
    const Answer mean = answer(published_config(row, "avg-loss"), both);
    Answer one[2];
    for (const std::size_t k : {0, 1})
      one[k] = answer(published_config(row), {both.student, {both.teachers[k]}, both.labels});
    const Answer expected{3 * one[0].value + one[1].value, 3 * one[0].gradient + one[1].gradient};
    expect_same(added, expected, row.name);
    expect_same(mean, {expected.value / 4, expected.gradient / 4}, row.name);
  }
}

// A teacher of weight 3 is one that is there three times.
TEST(Combination, WeightsCountTeachers) {
  LossCase weighted = random_case(2), repeated = weighted;
  weighted.teacher_weights = {3, 1};
  repeated.teachers.insert(repeated.teachers.begin(), 2, repeated.teachers[0]);
  for (const auto& row : logit_rows())
    for (const auto& combination : combination_registry().rows()) {
      if (!goes_with(row, combination) || combination.sample_weights != nullptr) continue;
      const DistillConfig config = published_config(row, combination.name);
      expect_same(answer(config, weighted), answer(config, repeated), row.name + " " + combination.name);
    }
}

TEST(Combination, EqualWeightsAreNone) {
  const LossCase plain = random_case(3);
  LossCase ones = plain, twos = plain;
  ones.teacher_weights = {1, 1, 1};
  twos.teacher_weights = {2, 2, 2};
  for (const auto& combination : combination_registry().rows()) {
    if (combination.sample_weights != nullptr) continue;
    const Answer expected = answer({.kd = combination.name}, plain), same = answer({.kd = combination.name}, ones);
    EXPECT_EQ(same.value, expected.value) << combination.name;
    EXPECT_TRUE(at::equal(same.gradient, expected.gradient)) << combination.name;
    if (!combination.name.starts_with("avg-")) continue;
    EXPECT_EQ(answer({.kd = combination.name}, twos).value, expected.value) << combination.name;
  }
}

TEST(Combination, SamplesWeighTeachersByWhatTheySay) {
  // Of three classes: sure and right, sure and wrong, unsure; the label is 0.
  const at::Tensor right = at::tensor({6.F, 0.F, 0.F}).view({1, 3}), wrong = at::tensor({0.F, 6.F, 0.F}).view({1, 3}),
                   unsure = at::zeros({1, 3});
  const at::Tensor logits = at::stack({right, wrong, unsure}), targets = at::tensor({1.F, 0.F, 0.F}).view({1, 3});
  const auto weights = [&](const std::string& name) {
    const at::Tensor found = combination_registry().at(name).sample_weights(logits, targets);
    EXPECT_EQ(found.sizes(), (std::vector<std::int64_t>{3, 1}));
    EXPECT_NEAR(found.sum().item<double>(), 1, 1e-6);
    return found.squeeze(1);
  };
  const double sum = std::exp(6) + 2, entropy = std::log(sum) - std::exp(6) / sum * 6;
  const double cross[3] = {std::log(sum) - 6, std::log(sum), std::log(3)};
  double total = 0;
  for (const double ce : cross) total += std::exp(ce);
  const at::Tensor confidence = weights("ca-mkd"), certainty = weights("entropy");
  const double entropies[3] = {entropy, entropy, std::log(3)};
  for (int k = 0; k < 3; ++k) {
    EXPECT_NEAR(confidence[k].item<double>(), (1 - std::exp(cross[k]) / total) / 2, 1e-5) << k;
    EXPECT_NEAR(certainty[k].item<double>(), (1 - entropies[k] / (2 * entropy + std::log(3))) / 2, 1e-5) << k;
  }
}

TEST(Combination, TeachersWithoutAnyDoubtCountTheSame) {
  const at::Tensor sure = at::tensor({1e4F, 0.F, 0.F}).view({1, 1, 3}).repeat({2, 1, 1});
  const at::Tensor weights = combination_registry().at("entropy").sample_weights(sure, {});
  EXPECT_TRUE(at::allclose(weights, at::full({2, 1}, 0.5)));
}

TEST(Combination, WhatDoesNotGoTogetherIsNamed) {
  const auto check = [](const std::string& loss, const std::string& combination, std::vector<double> weights = {}) {
    check_combination(distillation_loss_registry().at(loss), combination_registry().at(combination), weights);
  };
  EXPECT_ERROR(check("dkd", "sum-softmax"), UsageError,
               "--loss dkd does not go with --kd sum-softmax; accepted: add-loss, avg-loss, avg-softmax, avg-logits, ");
  EXPECT_ERROR(check("dist", "ca-mkd"), UsageError, "--loss dist does not go with --kd ca-mkd");
  EXPECT_ERROR(check("mlkd", "entropy"), UsageError, "--loss mlkd does not go with --kd entropy");
  EXPECT_ERROR(check("kd", "ca-mkd", {2, 1}), UsageError, "--kd ca-mkd weighs the teachers itself");
  check("kd", "ca-mkd", {1, 1});
  check("lskd", "sum-softmax", {2, 1});
  check("dist", "avg-softmax", {2, 1});
}

TEST(LossesPage, HasEveryLossWithItsSettingsAndEveryCombination) {
  std::ifstream file(std::string(EKD_GOLDEN_DIR) + "/../../docs/losses.md");
  const std::string page{std::istreambuf_iterator<char>(file), {}};
  for (const auto& row : distillation_loss_registry().rows())
    EXPECT_NE(page.find("| `" + row.name + "` |"), std::string::npos) << row.name;
  for (const auto& row : combination_registry().rows())
    EXPECT_NE(page.find("| `" + row.name + "` |"), std::string::npos) << row.name;
  for (const auto& row : logit_rows())
    for (const auto& setting : row.settings)
      EXPECT_NE(page.find(fmt::format("`{}` {:g}", setting.name, setting.value)), std::string::npos) << setting.name;
}

// Labels of mixed images

TEST(DominantLabels, AreTheLargestTargetsAndTheImagesOwnWhereTwoAreAsLarge) {
  const at::Tensor targets = at::tensor({.7F, .3F, 0.F, /**/ .3F, .7F, 0.F, /**/ .5F, 0.F, .5F, /**/ .5F, 0.F, .5F,
                                         /**/ 0.F, 1.F, 0.F})
                                 .view({5, 3});
  const at::Tensor labels = at::tensor({0, 0, 0, 2, 1}, at::kLong);
  const at::Tensor mask = dominant_labels(targets, labels);
  EXPECT_TRUE(at::equal(mask.sum(1), at::full({5}, 1, at::kLong)));
  EXPECT_TRUE(at::equal(mask.to(at::kLong).argmax(1), at::tensor({0, 1, 0, 2, 1}, at::kLong)));
}

}  // namespace
}  // namespace ekd

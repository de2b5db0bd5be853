#include "tests/losses/losses.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>

namespace ekd {
namespace {

struct Term {
  double value = 0;
  at::Tensor gradient;  // by the student's logits
};

Term term(const std::string& kd, const at::Tensor& student, const std::vector<at::Tensor>& teachers,
          double temperature) {
  const at::Tensor leaf = student.detach().clone().requires_grad_();
  const at::Tensor loss = kd_loss(kd, leaf, teachers, temperature);
  loss.backward();
  return {loss.item<double>(), leaf.grad()};
}

at::Tensor logits_of(double a, double b) { return at::tensor({std::log(a), std::log(b)}, at::kFloat).view({1, 2}); }

TEST(Kd, MatchesHandArithmetic) {
  // Student (.5, .5); teachers (.8, .2) and (.4, .6); T 1.
  const at::Tensor student = logits_of(0.5, 0.5);
  const std::vector<at::Tensor> teachers{logits_of(0.8, 0.2), logits_of(0.4, 0.6)};
  const double first = 0.8 * std::log(0.8 / 0.5) + 0.2 * std::log(0.2 / 0.5);
  const double second = 0.4 * std::log(0.4 / 0.5) + 0.6 * std::log(0.6 / 0.5);
  const double mean = 0.6 * std::log(0.6 / 0.5) + 0.4 * std::log(0.4 / 0.5);  // of (.8, .2) and (.4, .6): (.6, .4)
  const double sum = 1.2 * std::log(1.2 / 0.5) + 0.8 * std::log(0.8 / 0.5);
  // Mean logits: √(.8·.4) : √(.2·.6) = √.32 : √.12
  const double a = std::sqrt(0.32) / (std::sqrt(0.32) + std::sqrt(0.12));
  const double mean_logits = a * std::log(a / 0.5) + (1 - a) * std::log((1 - a) / 0.5);
  EXPECT_NEAR(term("add-loss", student, teachers, 1).value, first + second, 1e-6);
  EXPECT_NEAR(term("avg-loss", student, teachers, 1).value, (first + second) / 2, 1e-6);
  EXPECT_NEAR(term("avg-softmax", student, teachers, 1).value, mean, 1e-6);
  EXPECT_NEAR(term("sum-softmax", student, teachers, 1).value, sum, 1e-6);
  EXPECT_NEAR(term("avg-logits", student, teachers, 1).value, mean_logits, 1e-6);
  // d/dz of KL(p ‖ softmax z) is softmax z − p.
  EXPECT_TRUE(at::allclose(term("add-loss", student, teachers, 1).gradient, at::tensor({-0.2F, 0.2F}).view({1, 2})));
}

TEST(Kd, TemperatureSoftensBothAndScalesBySquare) {
  // At T 2 the odds 16 : 1 become 4 : 1, so KL of (.8, .2) from (.5, .5), times 4; two equal samples average to one.
  const at::Tensor student = logits_of(0.5, 0.5).repeat({2, 1}), teacher = logits_of(16, 1).repeat({2, 1});
  const double expected = 4 * (0.8 * std::log(0.8 / 0.5) + 0.2 * std::log(0.2 / 0.5));
  for (const auto& name : combination_registry().names()) {
    EXPECT_NEAR(term(name, student, {teacher}, 2).value, expected, 1e-5) << name;
  }
}

TEST(Kd, WaysThatShareAGradientDifferInValue) {
  const at::Tensor student = 3 * at::randn({16, 20});
  const std::vector<at::Tensor> teachers{3 * at::randn({16, 20}), 3 * at::randn({16, 20}), 3 * at::randn({16, 20})};
  for (const double temperature : {1.0, 4.0, 50.0}) {
    const Term add = term("add-loss", student, teachers, temperature),
               avg = term("avg-loss", student, teachers, temperature);
    const Term sum_softmax = term("sum-softmax", student, teachers, temperature);
    const Term avg_softmax = term("avg-softmax", student, teachers, temperature);
    const Term avg_logits = term("avg-logits", student, teachers, temperature);
    const double size = add.gradient.abs().max().item<double>();
    EXPECT_TRUE(at::allclose(sum_softmax.gradient, add.gradient, 1e-5, 1e-5 * size)) << temperature;
    EXPECT_TRUE(at::allclose(avg_softmax.gradient, avg.gradient, 1e-5, 1e-5 * size)) << temperature;
    EXPECT_TRUE(at::allclose(avg.gradient * 3, add.gradient, 1e-5, 1e-5 * size)) << temperature;
    EXPECT_NEAR(add.value, 3 * avg.value, 1e-5 * add.value);
    // The log of a concave mean: averaging first can only lower the divergence; summing without dividing adds K·log K.
    EXPECT_LT(avg_softmax.value, 0.999 * avg.value);
    EXPECT_NEAR(sum_softmax.value, 3 * avg_softmax.value + temperature * temperature * 3 * std::log(3.0),
                1e-5 * sum_softmax.value);
    EXPECT_FALSE(at::allclose(avg_logits.gradient, avg.gradient, 1e-3, 1e-4 * size)) << temperature;
  }
}

// The same in float64, where rounding is 1e-16 · T² of the value.
Term in_double(const std::string& kd, const at::Tensor& student, const at::Tensor& teachers, double temperature) {
  const auto soft = [&](const at::Tensor& logits) { return at::log_softmax(logits.to(at::kDouble) / temperature, -1); };
  const auto count = static_cast<double>(teachers.size(0));
  at::Tensor log_p = soft(teachers);
  if (kd.ends_with("softmax")) log_p = log_p.exp().mean(0).log();
  if (kd == "avg-logits") log_p = soft(teachers.to(at::kDouble).mean(0));
  const at::Tensor log_q = soft(student), p = log_p.exp();
  const double scale = (kd == "sum-softmax" ? count : kd == "avg-loss" ? 1 / count : 1) / double(student.size(0));
  const double offset = kd == "sum-softmax" ? count * std::log(count) : 0;
  const double value = (p * (log_p - log_q)).sum().item<double>() * scale + offset;
  at::Tensor gradient = log_q.exp() - p;
  if (gradient.dim() == 3) gradient = gradient.sum(0);
  return {value * temperature * temperature, gradient * (scale * temperature)};
}

void expect_as_in_double(const at::Tensor& student, const at::Tensor& teachers, double temperature) {
  for (const auto& row : combination_registry().rows()) {
    if (row.sample_weights != nullptr) continue;
    const std::string& kd = row.name;
    const Term got = term(kd, student, teachers.unbind(), temperature);
    const Term right = in_double(kd, student, teachers, temperature);
    const std::string what = kd + " of " + std::to_string(teachers.size(0)) + " at " + std::to_string(temperature);
    // Doubles know log p to 1e-15, and so the value to 1e-15 T² for each teacher.
    const double known = 1e-15 * temperature * temperature * double(teachers.size(0));
    EXPECT_NEAR(got.value, right.value, 1e-5 * right.value + known) << what;
    // float32 knows z/T to 1e-7 of it, and a probability to as much of itself.
    const double scaled = (student - student.mean(1, true)).abs().max().item<double>() / temperature;
    const double size = right.gradient.abs().max().item<double>() * std::max(1.0, scaled);
    EXPECT_TRUE(at::allclose(got.gradient.to(at::kDouble), right.gradient, 1e-4, 2e-6 * size)) << what;
  }
}

TEST(Kd, IsExactAtEveryTemperature) {
  for (const double spread : {0.1, 3.0, 20.0})
    for (const int count : {1, 2, 4})
      for (const double temperature : {0.5, 1.0, 2.0, 4.0, 20.0, 50.0, 200.0, 1e3, 1e4, 1e5})
        expect_as_in_double(spread * at::randn({16, 100}), spread * at::randn({count, 16, 100}), temperature);
  // Far from 0, where float32 has digits left for the differences alone.
  expect_as_in_double(at::randn({16, 100}) + 1000, at::randn({3, 16, 100}) - 4000, 1e4);
  // Few and many classes.
  expect_as_in_double(at::randn({5, 2}), at::randn({2, 5, 2}), 1e4);
  expect_as_in_double(at::randn({2, 5000}), at::randn({2, 2, 5000}), 1e5);
}

// T² · KL goes to half the variance of the logits' differences over the classes.
TEST(Kd, GoesToItsLimit) {
  const at::Tensor student = at::randn({1, 100}).repeat({64, 1}), teacher = at::randn({1, 100}).repeat({64, 1});
  const double limit = (student - teacher)[0].to(at::kDouble).var(0, false).item<double>() / 2;
  for (const auto& kd : {"add-loss", "avg-loss", "avg-softmax", "avg-logits"})
    for (const double temperature : {1e5, 1e6, 1e8, 1e12})
      EXPECT_NEAR(term(kd, student, {teacher}, temperature).value, limit, 2e-5 * limit) << kd << " at " << temperature;
}

TEST(Kd, IsNeverNegative) {
  for (const double distance : {0.0, 1e-6, 1e-4, 1e-2, 1.0}) {
    const at::Tensor teacher = 4 * at::randn({32, 100}), student = teacher + distance * at::randn({32, 100});
    for (const auto& kd : {"add-loss", "avg-loss", "avg-softmax", "avg-logits"})
      for (const double temperature : {0.5, 1.0, 4.0, 50.0, 1e3, 1e4, 1e5})
        EXPECT_GE(term(kd, student, {teacher}, temperature).value, 0) << kd << " at " << temperature;
  }
}

TEST(Kd, NothingFlowsIntoTeachers) {
  const at::Tensor student = at::randn({4, 5}).requires_grad_();
  const std::vector<at::Tensor> teachers{at::randn({4, 5}).requires_grad_(), at::randn({4, 5}).requires_grad_()};
  for (const auto& row : combination_registry().rows()) {
    kd_loss(row.name, student, teachers, 4).backward();
    for (const auto& teacher : teachers) EXPECT_FALSE(teacher.grad().defined()) << row.name;
  }
}

TEST(Kd, IsZeroWithoutGradientForAStudentThatEqualsItsTeacher) {
  const at::Tensor logits = 5 * at::randn({8, 10});
  for (const auto& name : {"add-loss", "avg-loss", "avg-softmax", "avg-logits"}) {
    const Term same = term(name, logits, {logits, logits}, 4);
    EXPECT_NEAR(same.value, 0, 1e-4) << name;
    EXPECT_LT(same.gradient.abs().max().item<double>(), 1e-5) << name;
  }
}

TEST(Kd, SurvivesProbabilitiesThatUnderflow) {
  // exp(−500) is 0 in float32. KL of (1, 0) from (0, 1): 1 · (0 − (−500)).
  const at::Tensor student = at::tensor({0.0F, 500.0F}).view({1, 2}), teacher = at::tensor({500.0F, 0.0F}).view({1, 2});
  for (const auto& name : combination_registry().names()) {
    const Term far = term(name, student, {teacher}, 1);
    EXPECT_NEAR(far.value, 500, 1e-3) << name;
    EXPECT_TRUE(far.gradient.isfinite().all().item<bool>()) << name;
  }
}

TEST(Kd, ComputesInFloat32WhateverComesIn) {
  const at::Tensor student = at::randn({8, 10}).to(at::kBFloat16), teacher = at::randn({8, 10}).to(at::kBFloat16);
  for (const auto& row : combination_registry().rows()) {
    const at::Tensor loss = kd_loss(row.name, student, {teacher, teacher}, 50);
    EXPECT_EQ(loss.scalar_type(), at::kFloat) << row.name;
    const at::Tensor wide =
        kd_loss(row.name, student.to(at::kFloat), {teacher.to(at::kFloat), teacher.to(at::kFloat)}, 50);
    EXPECT_EQ(loss.item<float>(), wide.item<float>()) << row.name;
  }
}

TEST(Kd, RefusesWhatDoesNotFit) {
  const at::Tensor student = at::randn({4, 5});
  for (const auto& row : combination_registry().rows()) {
    EXPECT_THROW(kd_loss(row.name, student, {}, 4), c10::Error) << row.name;
    EXPECT_THROW(kd_loss(row.name, student, {at::randn({4, 6})}, 4), c10::Error) << row.name;
    EXPECT_THROW(kd_loss(row.name, student, {student}, 0), c10::Error) << row.name;
  }
  EXPECT_THROW(combination_registry().at("add_loss"), UsageError);
}

}  // namespace
}  // namespace ekd

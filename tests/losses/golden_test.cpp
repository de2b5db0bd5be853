// The losses against PyTorch's.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/one_hot.h>
#include <gtest/gtest.h>

#include "ekd/losses/classification.h"

#include "tests/losses/losses.h"
#include "tests/models/golden.h"
#include "tests/support/emulated_block.h"

namespace ekd {
namespace {

constexpr double kTolerance = 1e-5;  // relative, in float32

void expect_relative(const at::Tensor& value, const nlohmann::json& expected, const std::string& what) {
  EXPECT_EQ(value.dim(), 0) << what;
  EXPECT_EQ(value.scalar_type(), at::kFloat) << what;
  EXPECT_NEAR(value.item<double>(), expected.get<double>(), kTolerance * expected.get<double>()) << what;
}

struct Distillation {
  TensorFile file = golden_tensors("distill");
  at::Tensor student = file.at("student").clone().requires_grad_();
  std::vector<at::Tensor> teachers = file.at("teachers").unbind();
  at::Tensor targets = at::one_hot(file.at("labels"), 100).to(at::kFloat);
};

void expect_term(const std::string& kd, const std::vector<at::Tensor>& teachers, double temperature,
                 const nlohmann::json& expected) {
  const Distillation golden;
  const std::string what = kd + " at T " + std::to_string(temperature);
  const at::Tensor term = kd_loss(kd, golden.student, teachers, temperature);
  expect_relative(term, expected.at("kd"), what);
  const at::Tensor total = 0.2 * soft_cross_entropy(golden.student, golden.targets) + 0.8 * term;
  expect_relative(total, expected.at("total_02_08"), what + ", total");
  total.backward();
  expect_relative(golden.student.grad().norm(), expected.at("grad_norm"), what + ", gradient");
}

class GoldenLosses : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) emulation_.emplace();
  }

 private:
  std::optional<FusedEmulation> emulation_;
};
INSTANTIATE_TEST_SUITE_P(OnKernelsOfAGpu, GoldenLosses, testing::Bool());

TEST_P(GoldenLosses, EveryWayToCombineFourTeachers) {
  const Distillation golden;
  const nlohmann::json expected = golden_numbers("distill");
  for (const int temperature : {1, 4, 50}) {
    const std::string suffix = "_T" + std::to_string(temperature);
    expect_term("add-loss", golden.teachers, temperature, expected.at("add_loss" + suffix));
    expect_term("avg-loss", golden.teachers, temperature, expected.at("avg_loss" + suffix));
    expect_term("avg-softmax", golden.teachers, temperature, expected.at("avg_softmax" + suffix));
    expect_term("sum-softmax", golden.teachers, temperature, expected.at("sum_softmax" + suffix));
    expect_term("avg-logits", golden.teachers, temperature, expected.at("avg_logits" + suffix));
  }
}

TEST_P(GoldenLosses, OneTeacherIsTheSameInEveryWay) {
  const Distillation golden;
  const nlohmann::json expected = golden_numbers("distill");
  for (const int temperature : {1, 4, 50}) {
    for (const auto& name : combination_registry().names()) {
      expect_term(name, {golden.teachers[0]}, temperature,
                  expected.at("kl_first_teacher_T" + std::to_string(temperature)));
    }
  }
}

TEST_P(GoldenLosses, JensenShannonOfThreeViews) {
  const Distillation golden;
  const nlohmann::json expected = golden_numbers("distill").at("augmix_jsd");
  const at::Tensor views = at::cat({golden.student, golden.teachers[0] * 0.5, golden.teachers[1] * 0.5});
  expect_relative(jensen_shannon(views, 3), expected.at("jsd"), "jsd");
  expect_relative(soft_cross_entropy(golden.student, golden.targets), expected.at("ce"), "ce");
}

}  // namespace
}  // namespace ekd

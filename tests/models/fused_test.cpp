// Training with ekd's own kernels against training with LibTorch's operations.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "ekd/core/device.h"
#include "ekd/models/registry.h"
#include "nn/functions.h"

namespace ekd {
namespace {

// `rate` is low enough for rounding not to grow: at the start gradients' squared norms are 25 and 14,000.
struct Training {
  std::string model;
  double rate;
};
void PrintTo(const Training& training, std::ostream* os) { *os << training.model; }

std::vector<double> losses_of(const Training& training, bool fused) {
  set_fused_kernels(fused);
  at::manual_seed(4);
  const auto model = make_model({.name = training.model, .classes = 10}, /*seed=*/1);
  model->set_training(true);
  std::vector<double> losses;
  for (int step = 0; step < 20; ++step) {
    const at::Tensor images = at::randn({8, 3, 32, 32}), labels = at::randint(10, {8}, at::kLong);
    const at::Tensor loss = at::cross_entropy_loss(model->forward(images).logits, labels);
    losses.push_back(loss.item<double>());
    loss.backward();
    const at::NoGradGuard no_grad;
    for (auto& [parameter, tensor] : model->parameters()) {
      at::Tensor weights = tensor;
      weights.sub_(tensor.grad(), training.rate);
      weights.mutable_grad().reset();
    }
  }
  set_fused_kernels(true);
  return losses;
}

class FusedKernels : public testing::TestWithParam<Training> {};

TEST_P(FusedKernels, TwentyStepsInFp32GiveTheSameLosses) {
  const auto fused = losses_of(GetParam(), true), plain = losses_of(GetParam(), false);
  for (std::size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(fused[i], plain[i], 1e-4 * plain[i]) << "step " << i;
  EXPECT_NE(fused, plain) << "both trainings used the same kernels";
}

// With running statistics of `images`, for evaluation.
std::unique_ptr<Classifier> model_for(const std::string& name, const at::Tensor& images) {
  auto model = make_model({.name = name, .classes = 10}, /*seed=*/1);
  const at::NoGradGuard no_grad;
  model->set_training(true);
  for (int i = 0; i < 12; ++i) model->forward(images);
  model->set_training(false);
  return model;
}

// Features too: kernels that work in place must leave them alone.
TEST_P(FusedKernels, EvaluationInFp32GivesTheSameOutputs) {
  const at::Tensor images = at::randn({16, 3, 32, 32});
  const auto model = model_for(GetParam().model, images);
  const at::NoGradGuard no_grad;
  const Outputs fused = model->forward(images);
  set_fused_kernels(false);
  const Outputs plain = model->forward(images);
  set_fused_kernels(true);
  const auto error = [](const at::Tensor& got, const at::Tensor& expected) {
    return ((got - expected).norm() / expected.norm()).item<double>();
  };
  EXPECT_LT(error(fused.logits, plain.logits), 5e-5);
  ASSERT_EQ(fused.features.size(), plain.features.size());
  for (std::size_t i = 0; i < plain.features.size(); ++i)
    EXPECT_LT(error(fused.features[i].tensor, plain.features[i].tensor), 5e-5) << plain.features[i].name;
}

TEST_P(FusedKernels, EvaluationInBfloat16AgreesWithFp32) {
  const at::Tensor images = at::randn({16, 3, 32, 32});
  const auto model = model_for(GetParam().model, images);
  const at::NoGradGuard no_grad;
  const at::Tensor expected = model->forward(images).logits;
  const auto error = [&](bool fused) {
    set_fused_kernels(fused);
    const AutocastGuard autocast(at::kCPU, Precision::kBf16);
    return (model->forward(images).logits.to(at::kFloat) - expected).norm().item<double>();
  };
  // Rounding to 8 bits is what LibTorch's operations suffer from too; folding batch norm must not add to it.
  const double plain = error(false), fused = error(true);
  EXPECT_LT(fused, 1.5 * plain);
  // Where nothing is folded, both may well compute the same bits.
  const at::Tensor x = at::zeros({1, 16, 2, 2}, at::kBFloat16), weight = at::zeros({16, 16, 3, 3});
  if (folds_convolution(x, weight, /*stride=*/1, /*groups=*/1)) {
    EXPECT_NE(fused, plain);
  }
}

INSTANTIATE_TEST_SUITE_P(Networks, FusedKernels,
                         testing::Values(Training{"wrn_40_2", 2e-5}, Training{"shufflenet_v1", 1e-7}));

}  // namespace
}  // namespace ekd

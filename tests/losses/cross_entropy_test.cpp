#include <ATen/TensorOperators.h>
#include <ATen/core/Reduction.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ekd/losses/classification.h"

namespace ekd {
namespace {

at::Tensor row(double a, double b) { return at::tensor({std::log(a), std::log(b)}, at::kFloat).view({1, 2}); }

TEST(SoftCrossEntropy, MatchesHandArithmetic) {
  // softmax(log 3, log 1) = (.75, .25) against (.6, .4), and (.5, .5) against (0, 1): the mean of the two.
  const at::Tensor logits = at::tensor({std::log(3.0F), 0.0F, 2.0F, 2.0F}).view({2, 2});
  const at::Tensor targets = at::tensor({0.6F, 0.4F, 0.0F, 1.0F}).view({2, 2});
  const double expected = (-0.6 * std::log(0.75) - 0.4 * std::log(0.25) + std::log(2.0)) / 2;
  EXPECT_NEAR(soft_cross_entropy(logits, targets).item<double>(), expected, 1e-6);
}

TEST(SoftCrossEntropy, GradientIsProbabilityLessTargetOverTheBatch) {
  const at::Tensor logits = (2 * at::randn({6, 7})).requires_grad_(), targets = at::softmax(at::randn({6, 7}), 1);
  soft_cross_entropy(logits, targets).backward();
  EXPECT_TRUE(at::allclose(logits.grad(), (at::softmax(logits, 1) - targets) / 6, 1e-5, 1e-7));
}

TEST(SoftCrossEntropy, HardTargetsGiveTheUsualLoss) {
  const at::Tensor logits = at::randn({5, 4}), labels = at::tensor({3, 0, 1, 1, 2}, at::kLong);
  const at::Tensor targets =
      at::tensor({0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0}, at::kFloat).view({5, 4});
  EXPECT_TRUE(at::allclose(soft_cross_entropy(logits, targets), at::cross_entropy_loss(logits, labels)));
}

TEST(SoftCrossEntropy, SmoothingIsPyTorchsForLabelsAndForMixedTargets) {
  const at::Tensor logits = at::randn({5, 4}), labels = at::tensor({3, 0, 1, 1, 2}, at::kLong);
  const at::Tensor hard = at::one_hot(labels, 4).to(at::kFloat), mixed = 0.3 * hard + 0.7 * hard.roll(1, 0);
  for (const double smoothing : {0.0, 0.1, 0.9}) {
    for (const auto& [targets, theirs] : {std::pair(hard, labels), std::pair(hard, hard), std::pair(mixed, mixed)}) {
      const at::Tensor expected =
          at::cross_entropy_loss(logits, theirs, /*weight=*/{}, at::Reduction::Mean, /*ignore_index=*/-100, smoothing);
      EXPECT_TRUE(at::allclose(soft_cross_entropy(logits, targets, smoothing), expected, 1e-6)) << smoothing;
    }
  }
  EXPECT_TRUE(at::equal(soft_cross_entropy(logits, mixed, 0), soft_cross_entropy(logits, mixed)));
}

TEST(SoftCrossEntropy, ComputesInFloat32AndChecksShapes) {
  const at::Tensor logits = (10 * at::randn({5, 4})).to(at::kBFloat16).requires_grad_();
  const at::Tensor targets = at::softmax(at::randn({5, 4}), 1);
  const at::Tensor loss = soft_cross_entropy(logits, targets);
  EXPECT_EQ(loss.scalar_type(), at::kFloat);
  EXPECT_EQ(loss.item<float>(), soft_cross_entropy(logits.to(at::kFloat), targets).item<float>());
  loss.backward();
  EXPECT_EQ(logits.grad().scalar_type(), at::kBFloat16);
  EXPECT_THROW(soft_cross_entropy(logits, at::randn({5, 3})), c10::Error);
}

TEST(JensenShannon, MatchesHandArithmetic) {
  // Views (.8, .2), (.4, .6), (.6, .4): their mean is (.6, .4).
  const at::Tensor logits = at::cat({row(0.8, 0.2), row(0.4, 0.6), row(0.6, 0.4)});
  const double first = 0.8 * std::log(0.8 / 0.6) + 0.2 * std::log(0.2 / 0.4);
  const double second = 0.4 * std::log(0.4 / 0.6) + 0.6 * std::log(0.6 / 0.4);
  EXPECT_NEAR(jensen_shannon(logits, 3).item<double>(), (first + second + 0) / 3, 1e-6);
}

TEST(JensenShannon, ViewsOfOneImageLieABatchApart) {
  // Two images, two views: image 0 (.8, .2) and (.4, .6), image 1 twice (.9, .1), which adds nothing.
  const at::Tensor logits = at::cat({row(0.8, 0.2), row(0.9, 0.1), row(0.4, 0.6), row(0.9, 0.1)});
  const double first = 0.8 * std::log(0.8 / 0.6) + 0.2 * std::log(0.2 / 0.4);
  const double second = 0.4 * std::log(0.4 / 0.6) + 0.6 * std::log(0.6 / 0.4);
  EXPECT_NEAR(jensen_shannon(logits, 2).item<double>(), ((first + second) / 2 + 0) / 2, 1e-6);
}

TEST(JensenShannon, LiesBetweenZeroAndTheLogOfTheNumberOfViews) {
  const at::Tensor logits = at::randn({12, 9});
  EXPECT_NEAR(jensen_shannon(logits.narrow(0, 0, 4).repeat({3, 1}), 3).item<double>(), 0, 1e-6);
  // Three certain and different views: each probability 1 against a mean of 1/3.
  const at::Tensor certain = (1000 * at::eye(3)).to(at::kFloat).requires_grad_();
  const at::Tensor loss = jensen_shannon(certain, 3);
  EXPECT_NEAR(loss.item<double>(), std::log(3.0), 1e-6);
  loss.backward();
  EXPECT_TRUE(certain.grad().isfinite().all().item<bool>());
  EXPECT_THROW(jensen_shannon(logits, 5), c10::Error);
}

TEST(JensenShannon, EveryViewGetsItsGradient) {
  // Central differences of 1e-2 are good to 1e-4 here.
  const at::Tensor logits = at::randn({6, 5}).requires_grad_();
  jensen_shannon(logits, 3).backward();
  for (std::int64_t view = 0; view < 3; ++view) {
    at::Tensor up = logits.detach().clone(), down = logits.detach().clone();
    up[2 * view][1] += 1e-2;
    down[2 * view][1] -= 1e-2;
    const double slope = (jensen_shannon(up, 3) - jensen_shannon(down, 3)).item<double>() / 2e-2;
    EXPECT_NEAR(logits.grad()[2 * view][1].item<double>(), slope, 1e-4);
  }
}

}  // namespace
}  // namespace ekd

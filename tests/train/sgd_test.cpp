#include "ekd/train/sgd.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

namespace ekd {
namespace {

class SgdTest : public ::testing::TestWithParam<bool> {};

// Against the definition in the header, elementwise, over three steps; gradients come in another layout than the
// weights.
TEST_P(SgdTest, MatchesTheDefinition) {
  const bool nesterov = GetParam();
  OptimConfig config;
  config.nesterov = nesterov;
  const at::Tensor weight = at::randn({6, 4, 3, 3}).contiguous(at::MemoryFormat::ChannelsLast).requires_grad_(true);
  const at::Tensor bias = at::randn({7}).requires_grad_(true);
  at::Tensor expected = weight.detach().contiguous().clone(), buffer = expected * 0;
  Sgd sgd({{"weight", weight}, {"bias", bias}}, config);
  for (const double lr : {0.05, 0.05, 0.005}) {
    const at::Tensor gradient = at::randn({6, 4, 3, 3});
    weight.mutable_grad() = gradient.clone();
    bias.mutable_grad() = at::full({7}, 1.0);
    sgd.set_rate(lr);
    sgd.step();
    const at::Tensor decayed = gradient + 5e-4 * expected;
    buffer = 0.9 * buffer + decayed;
    expected = expected - lr * (nesterov ? decayed + 0.9 * buffer : buffer);
  }
  EXPECT_TRUE(at::allclose(weight.detach(), expected, 1e-6, 1e-7));
  EXPECT_FALSE(weight.grad().defined());
  EXPECT_EQ(sgd.state().size(), 2U);
  EXPECT_TRUE(at::allclose(sgd.state()[0].tensor, buffer, 1e-6, 1e-7));
}

INSTANTIATE_TEST_SUITE_P(Nesterov, SgdTest, ::testing::Bool());

TEST(Sgd, WithoutMomentumKeepsNoBuffers) {
  OptimConfig config;
  config.momentum = 0;
  config.weight_decay = 0;
  const at::Tensor weight = at::full({20}, 1.0).requires_grad_(true);
  Sgd sgd({{"weight", weight}}, config);
  weight.mutable_grad() = at::full({20}, 2.0);
  sgd.set_rate(0.25);
  sgd.step();
  EXPECT_TRUE(at::allclose(weight.detach(), at::full({20}, 0.5)));
  EXPECT_TRUE(sgd.state().empty());
}

TEST(Sgd, ARateInATensorGivesTheSameBits) {
  OptimConfig config;
  const at::Tensor start = at::randn({6, 4, 3, 3});
  const at::Tensor left = start.clone().requires_grad_(true), right = start.clone().requires_grad_(true);
  Sgd by_number({{"weight", left}}, config), by_tensor({{"weight", right}}, config, RateIn::kTensor);
  for (const double lr : {0.1, 0.05, 0.3 / 7}) {
    const at::Tensor gradient = at::randn({6, 4, 3, 3});
    for (const auto& weight : {left, right}) weight.mutable_grad() = gradient.clone();
    for (auto* sgd : {&by_number, &by_tensor}) {
      sgd->set_rate(lr);
      sgd->step();
    }
    EXPECT_TRUE(at::equal(left, right)) << lr;
  }
  EXPECT_TRUE(at::equal(by_number.state()[0].tensor, by_tensor.state()[0].tensor));
}

TEST(Sgd, DroppedGradientsAreNotApplied) {
  const at::Tensor weight = at::full({4}, 1.0).requires_grad_(true);
  Sgd sgd({{"weight", weight}}, {});
  weight.mutable_grad() = at::full({4}, 2.0);
  sgd.drop_gradients();
  EXPECT_FALSE(weight.grad().defined());
}

}  // namespace
}  // namespace ekd

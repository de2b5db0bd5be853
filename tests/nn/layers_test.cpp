#include "ekd/nn/layers.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <cmath>

namespace ekd {
namespace {

struct Layers {
  NetworkState state;
  Scope root{state, at::make_generator<at::CPUGeneratorImpl>(0)};
};

TEST(ChannelShuffle, ReadsGroupsAndWritesThemInterleaved) {
  // Channels 0..5 in three groups (01)(23)(45): first of each group, then second of each.
  const at::Tensor x = at::arange(6, at::kFloat).view({1, 6, 1, 1}).expand({2, 6, 3, 5});
  const at::Tensor expected = at::tensor({0, 2, 4, 1, 3, 5}, at::kFloat).view({1, 6, 1, 1}).expand({2, 6, 3, 5});
  EXPECT_TRUE(shuffle_channels(x, 3).tensor().equal(expected));
  EXPECT_TRUE(shuffle_channels(x, 1).tensor().equal(x));
}

TEST(ChannelShuffle, KeepsChannelsLastAndAgreesBetweenLayouts) {
  const at::Tensor x = at::rand({2, 12, 4, 4});
  const at::Tensor expected = x.view({2, 3, 4, 4, 4}).transpose(1, 2).reshape({2, 12, 4, 4});
  const at::Tensor shuffled = shuffle_channels(x.contiguous(at::MemoryFormat::ChannelsLast), 3);
  EXPECT_TRUE(shuffled.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(shuffled.equal(expected));
  EXPECT_TRUE(shuffle_channels(x, 3).tensor().equal(expected));
  EXPECT_THROW(shuffle_channels(x, 5), c10::Error);
}

TEST(ChannelShuffle, GradientGoesBackTheSameWay) {
  const at::Tensor x = at::arange(6, at::kFloat).view({1, 6, 1, 1}).requires_grad_();
  (shuffle_channels(x, 3).tensor() * at::tensor({1, 10, 100, 2, 20, 200}, at::kFloat).view({1, 6, 1, 1}))
      .sum()
      .backward();
  EXPECT_TRUE(x.grad().flatten().equal(at::tensor({1, 2, 10, 20, 100, 200}, at::kFloat)));
}

TEST(BatchNorm, NormalisesAddsAndRectifies) {
  Layers layers;
  const BatchNorm bn(layers.root / "bn", 1);
  const at::NoGradGuard no_grad;
  layers.state.parameters[0].tensor.fill_(2);    // bn.weight
  layers.state.parameters[1].tensor.fill_(0.5);  // bn.bias
  // Values 1 and 3: mean 2, biased variance 1, so normalised ∓1/√(1 + 1e-5), then ·2 + .5: −1.49999 and 2.49999.
  const at::Tensor x = at::tensor({1, 3}, at::kFloat).view({2, 1, 1, 1});
  const double unit = 1 / std::sqrt(1 + 1e-5);
  const at::Tensor plain = bn.relu(x, /*training=*/true);
  EXPECT_EQ(plain[0].item<float>(), 0);
  EXPECT_NEAR(plain[1].item<double>(), 2 * unit + 0.5, 1e-6);
  // Running statistics start at 0 and 1 and take a tenth of mean 2 and *unbiased* variance 2.
  EXPECT_NEAR(layers.state.buffers[0].tensor.item<double>(), 0.1 * 2, 1e-6);
  EXPECT_NEAR(layers.state.buffers[1].tensor.item<double>(), 0.9 * 1 + 0.1 * 2, 1e-6);

  const at::Tensor residual = at::tensor({4, -5}, at::kFloat).view({2, 1, 1, 1});
  const at::Tensor added = bn.relu(x, /*training=*/true, residual);
  EXPECT_NEAR(added[0].item<double>(), -2 * unit + 0.5 + 4, 1e-6);
  EXPECT_EQ(added[1].item<float>(), 0);
  EXPECT_EQ(residual[0].item<float>(), 4) << "the residual is only read";

  layers.state.buffers[0].tensor.fill_(1);
  layers.state.buffers[1].tensor.fill_(4);
  const at::Tensor evaluated = bn.relu(x, /*training=*/false);  // (3 − 1)/√4.00001 · 2 + .5
  EXPECT_NEAR(evaluated[0].item<double>(), 0.5, 1e-6);
  EXPECT_NEAR(evaluated[1].item<double>(), 4 / std::sqrt(4 + 1e-5) + 0.5, 1e-6);
  EXPECT_EQ(layers.state.buffers[0].tensor.item<double>(), 1) << "evaluation moves nothing";
}

// Overwriting the sum in place must not change what backward sees.
TEST(BatchNorm, GradientsMatchTheSeparateOperations) {
  Layers layers;
  const BatchNorm bn(layers.root / "bn", 4);
  const at::Tensor x = at::randn({3, 4, 5, 5}).requires_grad_(), residual = at::randn({3, 4, 5, 5}).requires_grad_();
  const at::Tensor weights = at::randn({3, 4, 5, 5});
  (bn.relu(x, true, residual) * weights).sum().backward();
  const at::Tensor x_grad = x.grad().clone(), residual_grad = residual.grad().clone();
  x.mutable_grad().reset();
  residual.mutable_grad().reset();

  const at::Tensor centred = x - x.mean({0, 2, 3}, true);
  const at::Tensor normalised = centred / (centred.square().mean({0, 2, 3}, true) + 1e-5).sqrt();
  (at::relu(normalised + residual) * weights).sum().backward();
  EXPECT_TRUE(at::allclose(x_grad, x.grad(), 1e-4, 1e-5));
  EXPECT_TRUE(at::allclose(residual_grad, residual.grad()));
}

TEST(Conv2d, RegistersItsWeightUnderItsScope) {
  Layers layers;
  const Conv2d conv(layers.root / "block1" / "conv1", {.in = 4, .out = 6, .kernel = 3, .stride = 2, .groups = 2},
                    ConvStart::kFanInUniform);
  ASSERT_EQ(layers.state.parameters.size(), 1U);
  const auto& [name, weight] = layers.state.parameters[0];
  EXPECT_EQ(name, "block1.conv1.weight");
  EXPECT_EQ(weight.sizes(), (std::vector<std::int64_t>{6, 2, 3, 3}));
  EXPECT_LE(weight.abs().max().item<double>(), 1 / std::sqrt(9 * 2.0));
  EXPECT_EQ(conv(at::rand({1, 4, 7, 8})).tensor().sizes(), (std::vector<std::int64_t>{1, 6, 4, 4}));
  EXPECT_THROW(Conv2d(layers.root, {.in = 4, .out = 6, .groups = 3}, ConvStart::kFanInUniform), c10::Error);
}

}  // namespace
}  // namespace ekd

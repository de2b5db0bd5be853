// The CPU kernels of the networks' layers against LibTorch's operations in float64.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <limits>

#include "ekd/kernels/bn_relu.h"
#include "ekd/kernels/conv.h"

namespace ekd {
namespace {

// Largest difference, relative to the largest magnitude expected.
double difference(const at::Tensor& actual, const at::Tensor& expected) {
  return ((actual.to(at::kDouble) - expected).abs().max() / expected.abs().max()).item<double>();
}

at::Tensor noise(at::IntArrayRef shape, at::ScalarType type) {
  const at::Tensor values = at::randn(shape).to(type);
  return values.dim() == 4 ? values.contiguous(at::MemoryFormat::ChannelsLast) : values;
}

at::Tensor leaf(const at::Tensor& values) { return values.detach().to(at::kDouble).requires_grad_(); }

at::Tensor plain_conv(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t padding,
                      std::int64_t groups) {
  return at::conv2d(x, weight, std::nullopt, at::IntArrayRef(stride), at::IntArrayRef(padding), 1, groups);
}

// What rounding of inputs and results allows: bfloat16 keeps 8 bits.
double tolerance(at::ScalarType type) { return type == at::kFloat ? 2e-6 : 6e-3; }

// Why a test of kernels for certain CPUs is left out.
constexpr const char* kNoInstructions = "this CPU, or ATEN_CPU_CAPABILITY, has not the instructions for it";

struct Case {
  std::int64_t images, channels, side;
};
void PrintTo(const Case& c, std::ostream* os) { *os << c.images << "x" << c.channels << "x" << c.side; }

class BnRelu : public testing::TestWithParam<std::tuple<Case, at::ScalarType, bool>> {};

TEST_P(BnRelu, ForwardAndGradientsMatchTheSeparateOperations) {
  const auto [size, type, has_residual] = GetParam();
  at::manual_seed(1);
  const auto [images, channels, side] = size;
  const at::Tensor x = noise({images, channels, side, side}, type) * 2 + 3;
  const at::Tensor residual = has_residual ? noise(x.sizes(), type) : at::Tensor();
  const BnParameters parameters{at::rand(channels) + 0.5, at::randn(channels), 1e-5};
  const BnRunning running{at::randn(channels), at::rand(channels) + 0.5, 0.1};
  const at::Tensor mean = running.mean.to(at::kDouble), var = running.var.to(at::kDouble);

  const at::Tensor x64 = leaf(x), weight = leaf(parameters.weight), bias = leaf(parameters.bias);
  const at::Tensor residual64 = has_residual ? leaf(residual) : at::zeros({}, at::kDouble);
  const at::Tensor expected =
      at::relu(at::batch_norm(x64, weight, bias, mean, var, /*training=*/true, 0.1, 1e-5, false) + residual64);
  const at::Tensor inference = at::relu(at::batch_norm(x64, weight, bias, running.mean.to(at::kDouble),
                                                       running.var.to(at::kDouble), false, 0.1, 1e-5, false) +
                                        residual64);
  EXPECT_LT(difference(bn_relu_inference(x, residual, parameters, running), inference), tolerance(type));

  const auto result = bn_relu_forward(x, residual, parameters, running);
  EXPECT_LT(difference(result.y, expected), tolerance(type));
  EXPECT_LT(difference(running.mean, mean), 1e-6);
  EXPECT_LT(difference(running.var, var), 1e-6);

  const at::Tensor grad = noise(x.sizes(), type);
  // Where the result is near 0, rounding may turn ReLU's mask: those numbers take no part.
  const at::Tensor upper =
      grad.masked_fill(expected.lt(1e-2).logical_and(expected.ne(0)), 0).contiguous(at::MemoryFormat::ChannelsLast);
  expected.backward(upper.to(at::kDouble));
  const auto gradients = bn_relu_backward(upper, x, has_residual ? result.y : at::Tensor(), parameters, result.saved);
  EXPECT_LT(difference(gradients.x, x64.grad()), 2 * tolerance(type));
  EXPECT_LT(difference(gradients.weight, weight.grad()), tolerance(type));
  EXPECT_LT(difference(gradients.bias, bias.grad()), tolerance(type));
  if (has_residual)
    EXPECT_LT(difference(gradients.residual, residual64.grad()), tolerance(type));
  else
    EXPECT_FALSE(gradients.residual.defined());
}

// Channels of both networks, some that divide no vector, rows that are cut short, more than one block.
INSTANTIATE_TEST_SUITE_P(Shapes, BnRelu,
                         // In float32 the results of {3, 240, 20} and {23, 54, 15} go past the caches.
                         testing::Combine(testing::Values(Case{2, 16, 8}, Case{3, 54, 7}, Case{1, 1, 5}, Case{5, 60, 9},
                                                          Case{3, 240, 20}, Case{23, 54, 15}, Case{7, 100, 1}),
                                          testing::Values(at::kFloat, at::kBFloat16), testing::Bool()));

TEST(BnReluKernel, BitsDoNotDependOnThreadsAndNanStaysNan) {
  const at::Tensor x = noise({8, 60, 16, 16}, at::kBFloat16);
  const BnParameters parameters{at::rand(60), at::rand(60), 1e-5};
  const BnRunning running{at::zeros(60), at::ones(60), 0.1};
  at::set_num_threads(1);
  const auto one = bn_relu_forward(x, {}, parameters, running);
  at::set_num_threads(2);
  const auto two = bn_relu_forward(x, {}, parameters, running);
  at::set_num_threads(1);
  EXPECT_TRUE(one.y.equal(two.y));
  EXPECT_TRUE(one.saved.invstd.equal(two.saved.invstd));
  at::Tensor broken = x.clone();
  broken[3][7][2][2] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(bn_relu_inference(broken, {}, parameters, running).isnan().any().item<bool>());
}

TEST(BnReluKernel, AMeanFarFromZeroKeepsTheVariance) {
  // Alternating 4096 ± 0.5: variance 0.25; sums about 0 in float32 would lose it.
  const at::Tensor sign = at::arange(2 * 64 * 64).remainder(2).mul(2).sub(1).to(at::kFloat);
  const at::Tensor x = (sign * 0.5 + 4096).view({2, 1, 64, 64});
  const BnRunning running{at::zeros(1), at::zeros(1), 1.0};
  const auto result = bn_relu_forward(x, {}, {at::ones(1), at::zeros(1), 0}, running);
  EXPECT_NEAR(result.saved.mean.item<float>(), 4096, 1e-3);
  EXPECT_NEAR(result.saved.invstd.item<float>(), 2, 1e-4);
}

class Depthwise : public testing::TestWithParam<std::tuple<Case, at::ScalarType, int>> {};

TEST_P(Depthwise, ForwardAndGradientsMatchConv2d) {
  const auto [size, type, stride] = GetParam();
  at::manual_seed(2);
  const at::Tensor x = noise({size.images, size.channels, size.side, size.side}, type);
  const at::Tensor weight = at::randn({size.channels, 1, 3, 3});
  ASSERT_TRUE(depthwise_takes(x, stride));
  const at::Tensor x64 = leaf(x), weight64 = leaf(weight);
  const at::Tensor expected = plain_conv(x64, weight64, stride, 1, size.channels);
  const at::Tensor y = depthwise_forward(x, weight, stride);
  ASSERT_EQ(y.sizes(), expected.sizes());
  EXPECT_LT(difference(y, expected), tolerance(type));
  const at::Tensor grad = noise(y.sizes(), type);
  expected.backward(grad.to(at::kDouble));
  const auto gradients = depthwise_backward(grad, x, weight, stride);
  EXPECT_LT(difference(gradients.x, x64.grad()), tolerance(type));
  EXPECT_LT(difference(gradients.weight, weight64.grad()), tolerance(type));
}

INSTANTIATE_TEST_SUITE_P(Shapes, Depthwise,
                         testing::Combine(testing::Values(Case{1, 32, 2}, Case{3, 54, 6}, Case{6, 60, 8},
                                                          Case{5, 240, 4}),
                                          testing::Values(at::kFloat, at::kBFloat16), testing::Values(1, 2)));

TEST(DepthwiseKernel, RefusesWhatItCannotTake) {
  EXPECT_FALSE(depthwise_takes(noise({1, 31, 4, 4}, at::kFloat), 1));
  EXPECT_FALSE(depthwise_takes(noise({1, 32, 5, 4}, at::kFloat), 2));
  EXPECT_FALSE(depthwise_takes(at::randn({2, 32, 4, 4}), 1));
  EXPECT_FALSE(depthwise_takes(noise({1, 32, 4, 4}, at::kDouble), 1));
}

TEST(ChannelShuffleKernel, ReadsGroupsAndWritesThemInterleaved) {
  struct Shuffle {
    std::int64_t channels, groups;
  };
  // ShuffleNet's, three channels a group (the way back), other numbers, one group.
  for (const auto [channels, groups] :
       {Shuffle{60, 3}, Shuffle{54, 3}, Shuffle{240, 3}, Shuffle{60, 20}, Shuffle{8, 2}, Shuffle{20, 5}, Shuffle{7, 1}})
    for (const auto type : {at::kFloat, at::kBFloat16, at::kInt}) {
      const at::Tensor x = noise({3, channels, 5, 4}, at::kFloat).mul(1000).to(type);
      ASSERT_TRUE(shuffle_by_groups_takes(x));
      const at::Tensor y = shuffle_by_groups(x, groups);
      const auto width = channels / groups;
      const at::Tensor expected = x.reshape({3, groups, width, 5, 4}).transpose(1, 2).reshape(x.sizes());
      EXPECT_TRUE(y.equal(expected)) << channels << " channels in " << groups << " groups";
      EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
      EXPECT_TRUE(shuffle_by_groups(y, width).equal(x));
    }
  EXPECT_FALSE(shuffle_by_groups_takes(at::randn({2, 6, 4, 4})));
  EXPECT_FALSE(shuffle_by_groups_takes(noise({2, 6, 4, 4}, at::kDouble)));
}

struct Grouped {
  std::int64_t in, out, groups, images, side;
};
void PrintTo(const Grouped& g, std::ostream* os) {
  *os << g.in << " to " << g.out << " in " << g.groups << ", " << g.images << "x" << g.side;
}

class Pointwise : public testing::TestWithParam<std::tuple<Grouped, at::ScalarType>> {};

TEST_P(Pointwise, ForwardAndGradientsMatchConv2d) {
  const auto [size, type] = GetParam();
  at::manual_seed(3);
  const at::Tensor x = noise({size.images, size.in, size.side, size.side}, type);
  const at::Tensor weight = at::randn({size.out, size.in / size.groups, 1, 1});
  if (!pointwise_takes(x, weight, size.groups)) GTEST_SKIP() << kNoInstructions;
  const at::Tensor x64 = leaf(x), weight64 = leaf(weight.to(type));
  const at::Tensor expected = plain_conv(x64, weight64, 1, 0, size.groups);
  const at::Tensor y = pointwise_forward(x, weight, size.groups);
  ASSERT_EQ(y.sizes(), expected.sizes());
  EXPECT_LT(difference(y, expected), tolerance(type));
  const at::Tensor grad = noise(y.sizes(), type);
  expected.backward(grad.to(at::kDouble));
  const auto gradients = pointwise_backward(grad, x, weight, size.groups, /*wants_x=*/true);
  EXPECT_LT(difference(gradients.x, x64.grad()), tolerance(type));
  EXPECT_LT(difference(gradients.weight, weight64.grad()), 1e-5);  // products of bf16 are exact in float32
  EXPECT_FALSE(pointwise_backward(grad, x, weight, size.groups, /*wants_x=*/false).x.defined());
}

// The student's shapes, every number of vectors in a panel, rows that fill no tile, an odd number of rows, several
// parts; the last two have results that go past the caches where their lines are written whole.
INSTANTIATE_TEST_SUITE_P(Shapes, Pointwise,
                         testing::Combine(testing::Values(Grouped{24, 54, 1, 3, 7}, Grouped{54, 216, 3, 2, 5},
                                                          Grouped{240, 60, 3, 3, 16}, Grouped{60, 240, 3, 9, 11},
                                                          Grouped{480, 120, 3, 2, 8}, Grouped{240, 960, 3, 5, 4},
                                                          Grouped{6, 6, 3, 1, 1}, Grouped{4, 130, 1, 1, 3},
                                                          Grouped{60, 240, 3, 5, 16}, Grouped{60, 216, 3, 5, 16}),
                                          testing::Values(at::kFloat, at::kBFloat16)));

TEST(PointwiseKernel, Float32TakesAnyNumberOfChannels) {
  const at::Tensor x = noise({2, 7, 3, 3}, at::kFloat), weight = at::randn({5, 7, 1, 1});
  if (!pointwise_takes(x, weight, 1)) GTEST_SKIP() << kNoInstructions;
  const at::Tensor expected = plain_conv(leaf(x), leaf(weight), 1, 0, 1);
  EXPECT_LT(difference(pointwise_forward(x, weight, 1), expected), tolerance(at::kFloat));
}

TEST(PointwiseKernel, BitsDoNotDependOnThreads) {
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const at::Tensor x = noise({8, 240, 16, 16}, type), grad = noise({8, 60, 16, 16}, type);
    const at::Tensor weight = at::randn({60, 80, 1, 1});
    if (!pointwise_takes(x, weight, 3)) continue;
    at::set_num_threads(1);
    const auto one = pointwise_backward(grad, x, weight, 3, true);
    at::set_num_threads(2);
    const auto two = pointwise_backward(grad, x, weight, 3, true);
    at::set_num_threads(1);
    EXPECT_TRUE(one.x.equal(two.x));
    EXPECT_TRUE(one.weight.equal(two.weight));
  }
}

struct Square {
  std::int64_t in, out, images, height, width;
};
void PrintTo(const Square& s, std::ostream* os) {
  *os << s.in << " to " << s.out << ", " << s.images << "x" << s.height << "x" << s.width;
}

class Winograd : public testing::TestWithParam<Square> {};

// Its transforms add up to 36 numbers, larger than the result: a few roundings more than the direct sum has.
constexpr double kWinogradTolerance = 4e-6;

TEST_P(Winograd, ForwardAndGradientsMatchConv2d) {
  const Square size = GetParam();
  at::manual_seed(5);
  const at::Tensor x = noise({size.images, size.in, size.height, size.width}, at::kFloat);
  const at::Tensor weight = noise({size.out, size.in, 3, 3}, at::kFloat);
  if (!winograd_takes(x, weight)) GTEST_SKIP() << kNoInstructions;
  const at::Tensor x64 = leaf(x), weight64 = leaf(weight);
  const at::Tensor expected = plain_conv(x64, weight64, 1, 1, 1);
  const at::Tensor y = winograd_forward(x, weight);
  ASSERT_EQ(y.sizes(), expected.sizes());
  EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_LT(difference(y, expected), kWinogradTolerance);
  const at::Tensor residual = noise(y.sizes(), at::kFloat);
  EXPECT_TRUE(winograd_forward(x, weight, residual).equal(y + residual));
  const at::Tensor sum = residual.clone();
  winograd_add_to(sum, x, weight);
  EXPECT_TRUE(sum.equal(y + residual));
  const at::Tensor planes = at::zeros({size.images, size.out, size.height, size.width});
  EXPECT_THROW(winograd_add_to(planes, x, weight), c10::Error);
  const at::Tensor grad = noise(y.sizes(), at::kFloat);
  expected.backward(grad.to(at::kDouble));
  const auto gradients = winograd_backward(grad, x, weight, /*wants_x=*/true);
  EXPECT_LT(difference(gradients.x, x64.grad()), kWinogradTolerance);
  EXPECT_LT(difference(gradients.weight, weight64.grad()), kWinogradTolerance);
  EXPECT_FALSE(winograd_backward(grad, x, weight, /*wants_x=*/false).x.defined());
}

TEST_P(Winograd, ScaleShiftAndReluMatchTheSeparateOperations) {
  const Square size = GetParam();
  at::manual_seed(6);
  const at::Tensor x = noise({size.images, size.in, size.height, size.width}, at::kFloat);
  const at::Tensor weight = noise({size.out, size.in, 3, 3}, at::kFloat);
  if (!winograd_takes(x, weight)) GTEST_SKIP() << kNoInstructions;
  const ChannelScaleShift after{at::rand(size.out) + 0.5, at::randn(size.out) * 9};
  const ChannelScaleShift before{at::randn(size.in), at::randn(size.in)};
  const auto relu = [](const at::Tensor& values, const ChannelScaleShift& affine) {
    const auto row = [](const at::Tensor& numbers) { return numbers.to(at::kDouble).view({1, -1, 1, 1}); };
    return (values * row(affine.scale) + row(affine.shift)).relu();
  };
  const at::Tensor expected = relu(plain_conv(leaf(x), leaf(weight), 1, 1, 1), after);
  EXPECT_LT(difference(winograd_relu(x, weight, after), expected), kWinogradTolerance);
  // The border is 0, not what the shift makes of 0.
  const at::Tensor expected_between = relu(plain_conv(relu(leaf(x), before), leaf(weight), 1, 1, 1), after);
  EXPECT_LT(difference(winograd_relu(x, weight, after, &before), expected_between), kWinogradTolerance);
}

// The teacher's shapes, one tile, rows of tiles that fill no block, several parts of a weight's gradient, weights in
// another order, many channels.
INSTANTIATE_TEST_SUITE_P(Shapes, Winograd,
                         testing::Values(Square{16, 32, 2, 32, 32}, Square{32, 16, 1, 4, 32}, Square{64, 64, 5, 16, 16},
                                         Square{128, 128, 3, 8, 8}, Square{16, 16, 1, 4, 4}, Square{48, 80, 7, 8, 12},
                                         Square{512, 16, 1, 8, 4}));

TEST(WinogradKernel, BitsDoNotDependOnThreadsOrTheWeightsLayout) {
  const at::Tensor x = noise({9, 32, 16, 16}, at::kFloat), weight = noise({32, 32, 3, 3}, at::kFloat);
  if (!winograd_takes(x, weight)) GTEST_SKIP() << kNoInstructions;
  const at::Tensor grad = noise({9, 32, 16, 16}, at::kFloat);
  at::set_num_threads(1);
  const auto one = winograd_backward(grad, x, weight, true);
  at::set_num_threads(2);
  const auto two = winograd_backward(grad, x, weight.contiguous(), true);
  at::set_num_threads(1);
  EXPECT_TRUE(one.x.equal(two.x));
  EXPECT_TRUE(one.weight.equal(two.weight));
}

TEST(WinogradKernel, NanStaysNanAndOtherSizesAreRefused) {
  at::Tensor x = noise({1, 16, 4, 4}, at::kFloat);
  const at::Tensor weight = noise({16, 16, 3, 3}, at::kFloat);
  EXPECT_FALSE(winograd_takes(noise({1, 16, 6, 4}, at::kFloat), weight));
  EXPECT_FALSE(winograd_takes(noise({1, 8, 4, 4}, at::kFloat), noise({16, 8, 3, 3}, at::kFloat)));
  EXPECT_FALSE(winograd_takes(noise({1, 16, 4, 4}, at::kBFloat16), weight));
  EXPECT_FALSE(winograd_takes(at::randn({2, 16, 4, 4}), weight));
  if (!winograd_takes(x, weight)) GTEST_SKIP() << kNoInstructions;
  x[0][3][1][1] = std::numeric_limits<float>::quiet_NaN();
  const ChannelScaleShift same{at::ones(16), at::zeros(16)};
  EXPECT_TRUE(winograd_relu(x, weight, same).isnan().any().item<bool>());
  EXPECT_TRUE(winograd_relu(x, weight, same, &same).isnan().any().item<bool>());
}

}  // namespace
}  // namespace ekd

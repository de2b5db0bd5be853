// The fused kernels against LibTorch's operations in float64: those of a GPU on the CPU, run thread by thread, and on a
// GPU where there is one; and the CPU's own, where it has them.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/relu.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>
#include <optional>
#include <ostream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "ekd/core/device.h"
#include "ekd/kernels/fused.h"
#include "kernels/fused/totals.h"
#include "tests/support/fused_kernels.h"

namespace ekd {
namespace {

// Where the tensors of a test lie, and on what its operations run.
class Place {
 public:
  explicit Place(Kernels kernels) : kernels_(kernels) { device_ = device_of(kernels); }
  static at::Device device() { return device_; }

 private:
  static inline at::Device device_{at::kCPU};
  OnKernels kernels_;
};

at::Tensor channels_last(const at::Tensor& x) { return x.contiguous(at::MemoryFormat::ChannelsLast); }

at::Tensor here(const at::Tensor& x) { return x.to(Place::device()); }

at::Tensor images(at::IntArrayRef sizes) { return here(channels_last(at::randn(sizes).to(at::kBFloat16))); }

at::Tensor fixed(std::int64_t rows, std::int64_t count) { return here(at::zeros({rows, count}, at::kLong)); }

FusedNorm norm_over(std::int64_t channels) {
  FusedNorm norm;
  norm.weight = here(at::rand(channels) + 0.5);
  norm.bias = here(at::randn(channels) * 0.3);
  norm.running_mean = here(at::randn(channels) * 0.1);
  norm.running_var = here(at::rand(channels) + 0.5);
  norm.eps = 1e-5;
  norm.moments = fixed(kMomentRows, channels);
  norm.slopes = fixed(kSlopeRows, channels);
  return norm;
}

// norm(x) of the batch in float64, differentiable.
at::Tensor before_relu(const at::Tensor& x, const FusedNorm& norm) {
  const auto shape = [](const at::Tensor& values) { return values.to(at::kDouble).view({1, -1, 1, 1}); };
  const at::Tensor mean = x.mean({0, 2, 3}, true), var = (x - mean).square().mean({0, 2, 3}, true);
  return (x - mean) * (var + norm.eps).rsqrt() * shape(norm.weight) + shape(norm.bias);
}
at::Tensor normalised(const at::Tensor& x, const FusedNorm& norm) { return at::relu(before_relu(x, norm)); }

// How far apart, beside the largest number: of one or two roundings to bfloat16 at most.
void expect_close(const at::Tensor& actual, const at::Tensor& expected, double tolerance, const std::string& what) {
  ASSERT_EQ(actual.sizes(), expected.sizes()) << what;
  const double largest = expected.abs().max().item<double>();
  const double apart = (actual.to(at::kDouble) - expected).abs().max().item<double>();
  EXPECT_LE(apart, tolerance * largest) << what;
}

void expect_moments(const at::Tensor& moments, const at::Tensor& y) {
  const at::Tensor values = y.to(at::kDouble);
  expect_close(moments[kMomentSum].to(at::kDouble) / kMomentsOne, values.sum({0, 2, 3}), 1e-5, "sum");
  expect_close(moments[kMomentSquare].to(at::kDouble) / kMomentsOne, values.square().sum({0, 2, 3}), 1e-5, "square");
  EXPECT_EQ(moments[kMomentBad].sum().item<std::int64_t>(), 0);
}

struct ConvCase {
  std::int64_t images, side, in, out, kernel, stride, groups;
};
void PrintTo(const ConvCase& c, std::ostream* os) {
  *os << c.images << "x" << c.side << " " << c.in << " to " << c.out << " kernel " << c.kernel << " stride " << c.stride
      << " groups " << c.groups;
}

class FusedConvolution : public testing::TestWithParam<std::tuple<Kernels, ConvCase>> {
 protected:
  void SetUp() override {
    if (const auto reason = missing(std::get<0>(GetParam())); !reason.empty()) GTEST_SKIP() << reason;
    place_.emplace(std::get<0>(GetParam()));
    at::manual_seed(3);
  }
  std::optional<Place> place_;
};

// z -> norm, ReLU -> convolution + added -> norm: every gradient.
TEST_P(FusedConvolution, GivesResultsAndGradients) {
  const ConvCase c = std::get<1>(GetParam());
  FusedNorm before = norm_over(c.in), after = norm_over(c.out);
  const at::Tensor z = images({c.images, c.in, c.side, c.side});
  before.count = z.numel() / z.size(1);
  fused_moments(z, before.moments);
  expect_moments(before.moments, z);
  const double deviation = 1 / std::sqrt(static_cast<double>(c.in / c.groups * c.kernel * c.kernel));
  const at::Tensor weight =
      here(channels_last((at::randn({c.out, c.in / c.groups, c.kernel, c.kernel}) * deviation).to(at::kBFloat16)));
  const FusedConv conv{weight, c.stride, c.groups};
  const at::Tensor shape = at::conv2d(z.to(at::kFloat), weight.to(at::kFloat), {}, c.stride, c.kernel / 2, 1, c.groups);
  const at::Tensor added = images(shape.sizes());

  const at::Tensor y = fused_conv({z, {}, &before}, conv, added, after.moments);
  expect_moments(after.moments, y);
  after.count = y.numel() / y.size(1);

  at::Tensor z_ref = z.to(at::kDouble).requires_grad_(), weight_ref = weight.to(at::kDouble).requires_grad_();
  at::Tensor activated = normalised(z_ref, before);
  // What the kernels keep in bfloat16 is rounded here too; the gradient does not see it.
  activated = activated + (activated.to(at::kBFloat16).to(at::kDouble) - activated).detach();
  activated.retain_grad();
  const at::Tensor y_ref =
      at::conv2d(activated, weight_ref, {}, c.stride, c.kernel / 2, 1, c.groups) + added.to(at::kDouble);
  expect_close(y, y_ref, 5e-3, "result");

  // The gradient arrives at the norm behind y, masked, with its slopes taken.
  const at::Tensor y_rounded = y.to(at::kDouble).requires_grad_();
  const at::Tensor g = images(y.sizes()).to(at::kDouble);
  normalised(y_rounded, after).backward(g);
  y_ref.backward(y_rounded.grad().to(at::kBFloat16).to(at::kDouble));
  const at::Tensor masked = channels_last((g * (normalised(y.to(at::kDouble), after) > 0)).to(at::kBFloat16));
  const at::Tensor mean = y.to(at::kDouble).mean({0, 2, 3}, true);
  after.slopes[kSlopeSum].copy_((masked.to(at::kDouble).sum({0, 2, 3}) * kGradientOne).round());
  after.slopes[kSlopeProduct].copy_(
      ((masked.to(at::kDouble) * (y.to(at::kDouble) - mean)).sum({0, 2, 3}) * kGradientOne).round());

  const FusedInput grad{masked, y, &after};
  const at::Tensor sums = fixed(1, weight.numel()), bad = fixed(1, 1);
  fused_conv_weight_gradient(grad, {z, {}, &before}, conv, sums, bad);
  const at::Tensor grad_weight = at::empty_like(
      weight_ref.grad(), weight_ref.options().dtype(at::kFloat).requires_grad(false), at::MemoryFormat::ChannelsLast);
  grad_weight.as_strided({weight.numel()}, {1}).copy_(fused_gradients(sums.view(-1), bad));
  expect_close(grad_weight, weight_ref.grad(), 1e-2, "gradient by the weight");

  // The same from the gradient by the result as it is, and with the input as it is.
  const at::Tensor grad_y = fused_norm_gradient(grad);
  const auto expect_weight_gradient = [&](const FusedInput& from, const FusedInput& read, const at::Tensor& expected) {
    const at::Tensor plain_sums = fixed(1, weight.numel());
    fused_conv_weight_gradient(from, read, conv, plain_sums, bad);
    const at::Tensor plain_gradient = at::empty_like(grad_weight, at::MemoryFormat::ChannelsLast);
    plain_gradient.as_strided({weight.numel()}, {1}).copy_(fused_gradients(plain_sums.view(-1), bad));
    expect_close(plain_gradient, expected, 1e-2, "gradient by the weight, plain");
  };
  expect_weight_gradient({grad_y}, {z, {}, &before}, weight_ref.grad());
  at::Tensor plain_weight = weight.to(at::kDouble).requires_grad_();
  at::conv2d(z.to(at::kDouble), plain_weight, {}, c.stride, c.kernel / 2, 1, c.groups).backward(grad_y.to(at::kDouble));
  expect_weight_gradient({grad_y}, {z}, plain_weight.grad());

  if (c.in % 2 != 0) return;
  const at::Tensor other = images(z.sizes());
  expect_close(fused_conv_input_gradient(grad, conv, z.sizes(), {z}, {other}), activated.grad() + other.to(at::kDouble),
               1e-2, "gradient by the input, plain, with another's");
  const auto with_own_slopes = [&] {
    FusedNorm norm = before;
    norm.slopes = fixed(kSlopeRows, c.in);
    return norm;
  };
  const FusedNorm untouched = with_own_slopes();
  expect_close(fused_conv_input_gradient({grad_y}, conv, z.sizes(), {z, {}, &untouched}),
               activated.grad() * (activated > 0), 2e-2, "gradient by the input from a plain one, masked");
  const at::Tensor grad_z = fused_conv_input_gradient(grad, conv, z.sizes(), {z, {}, &before});
  const at::Tensor expected = activated.grad() * (activated > 0);
  expect_close(grad_z, expected, 1e-2, "gradient by the input, masked");
  const at::Tensor z_mean = z.to(at::kDouble).mean({0, 2, 3}, true), rounded = grad_z.to(at::kDouble);
  expect_close(before.slopes[kSlopeSum].to(at::kDouble) / kGradientOne, rounded.sum({0, 2, 3}), 1e-4, "slope's sum");
  expect_close(before.slopes[kSlopeProduct].to(at::kDouble) / kGradientOne,
               (rounded * (z.to(at::kDouble) - z_mean)).sum({0, 2, 3}), 1e-4, "slope's product");
  expect_close(fused_norm_gradient({grad_z, z, &before}), z_ref.grad(), 2e-2, "gradient through the norm");
  const at::Tensor parameters = here(at::zeros({2 * c.in}));
  fused_norm_parameter_gradients({{before, c.in, 0}}, parameters);
  expect_close(parameters.narrow(0, 0, c.in), expected.sum({0, 2, 3}), 2e-2, "gradient by the bias");

  // The end of a block: z is max(normalised `inner` + a residual, 0), whose mask is applied here.
  if (fused_conv_masks_joined(z.device())) {
    const at::Tensor inner = images(z.sizes()), y_joined = channels_last(z.clamp_min(0));
    const FusedNorm end = with_own_slopes();
    const at::Tensor masked_sum = (activated.grad() + other.to(at::kDouble)) * (y_joined > 0);
    const at::Tensor joined = fused_conv_input_gradient(grad, conv, z.sizes(), {y_joined}, {other, inner, &end});
    expect_close(joined, masked_sum, 1e-2, "gradient by the input, joined");
    expect_close(end.slopes[kSlopeSum].to(at::kDouble) / kGradientOne, joined.to(at::kDouble).sum({0, 2, 3}), 1e-4,
                 "joined slope's sum");
    // `before` holds the moments of z: their mean is what is subtracted.
    expect_close(end.slopes[kSlopeProduct].to(at::kDouble) / kGradientOne,
                 (joined.to(at::kDouble) * (inner.to(at::kDouble) - z_mean)).sum({0, 2, 3}), 1e-4,
                 "joined slope's product");
  }

  if (fused_conv_joins(conv)) {
    const at::Tensor end = at::empty_like(z);
    const at::Tensor behind = fused_conv({z, other, &before, end}, conv, {}, {});
    expect_close(end, (before_relu(z_ref, before) + other.to(at::kDouble)).clamp_min(0), 1e-2, "end of a block");
    expect_close(behind,
                 at::conv2d(end.to(at::kDouble), weight.to(at::kDouble), {}, c.stride, c.kernel / 2, 1, c.groups), 5e-3,
                 "convolution of it");
  }

  // Plain: nothing around the convolution.
  const at::Tensor plain = fused_conv({z}, conv, {}, {});
  expect_close(plain, at::conv2d(z.to(at::kDouble), weight.to(at::kDouble), {}, c.stride, c.kernel / 2, 1, c.groups),
               5e-3, "plain");
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, FusedConvolution,
    testing::Combine(kAllKernels, testing::Values(ConvCase{2, 8, 24, 54, 1, 1, 1}, ConvCase{2, 6, 54, 216, 1, 1, 3},
                                                  ConvCase{1, 9, 240, 60, 1, 1, 3}, ConvCase{3, 4, 60, 240, 1, 1, 3},
                                                  ConvCase{1, 4, 960, 240, 1, 1, 3}, ConvCase{1, 4, 240, 960, 1, 1, 3},
                                                  ConvCase{2, 12, 32, 32, 3, 1, 1}, ConvCase{1, 16, 16, 32, 3, 1, 1},
                                                  ConvCase{3, 8, 64, 64, 3, 1, 1}, ConvCase{5, 8, 128, 128, 3, 1, 1},
                                                  ConvCase{2, 32, 32, 32, 3, 1, 1}, ConvCase{2, 16, 64, 64, 3, 1, 1},
                                                  ConvCase{1, 32, 16, 32, 3, 1, 1}, ConvCase{1, 32, 32, 64, 3, 2, 1},
                                                  ConvCase{5, 16, 64, 128, 3, 2, 1}, ConvCase{1, 5, 128, 128, 3, 1, 1},
                                                  ConvCase{2, 16, 32, 64, 3, 2, 1}, ConvCase{2, 16, 32, 64, 1, 2, 1},
                                                  ConvCase{1, 7, 20, 36, 3, 2, 2}, ConvCase{2, 10, 3, 16, 3, 1, 1},
                                                  ConvCase{9, 3, 3, 24, 1, 1, 1})));

struct DepthwiseCase {
  std::int64_t images, side, channels, stride, shuffle;
};
void PrintTo(const DepthwiseCase& c, std::ostream* os) {
  *os << c.images << "x" << c.side << " " << c.channels << " stride " << c.stride << " shuffle " << c.shuffle;
}
class FusedDepthwise : public testing::TestWithParam<std::tuple<Kernels, DepthwiseCase>> {
 protected:
  void SetUp() override {
    if (const auto reason = missing(std::get<0>(GetParam())); !reason.empty()) GTEST_SKIP() << reason;
    place_.emplace(std::get<0>(GetParam()));
    at::manual_seed(5);
  }
  std::optional<Place> place_;
};

TEST_P(FusedDepthwise, GivesResultsAndGradients) {
  const DepthwiseCase c = std::get<1>(GetParam());
  FusedNorm before = norm_over(c.channels), after = norm_over(c.channels);
  const at::Tensor z = images({c.images, c.channels, c.side, c.side});
  if (!fused_depthwise_takes(z, c.stride)) GTEST_SKIP() << "too few channels for these kernels";
  before.count = z.numel() / z.size(1);
  fused_moments(z, before.moments);
  const FusedConv conv{here(channels_last((at::randn({c.channels, 1, 3, 3}) / 3).to(at::kBFloat16))), c.stride,
                       c.channels};
  const at::Tensor y = fused_depthwise({z, {}, &before}, c.shuffle, conv, after.moments);
  expect_moments(after.moments, y);

  at::Tensor z_ref = z.to(at::kDouble).requires_grad_(), weight_ref = conv.weight.to(at::kDouble).requires_grad_();
  at::Tensor activated = normalised(z_ref, before);
  activated = activated + (activated.to(at::kBFloat16).to(at::kDouble) - activated).detach();
  activated.retain_grad();
  const at::Tensor shuffled =
      activated.view({c.images, c.shuffle, c.channels / c.shuffle, c.side, c.side}).transpose(1, 2).reshape(z.sizes());
  const at::Tensor y_ref = at::conv2d(shuffled, weight_ref, {}, c.stride, 1, 1, c.channels);
  expect_close(y, y_ref, 5e-3, "result");

  const at::Tensor grad = images(y.sizes());
  y_ref.backward(grad.to(at::kDouble));
  const at::Tensor sums = fixed(1, weight_ref.numel()), bad = fixed(1, 1);
  const at::Tensor grad_z = fused_depthwise_gradients({grad}, {z, {}, &before}, c.shuffle, conv, sums, bad);
  expect_close(grad_z, activated.grad() * (activated > 0), 1e-2, "gradient by the input, masked");
  expect_close(fused_gradients(sums.view(-1), bad), weight_ref.grad().reshape(-1), 1e-2, "gradient by the weight");
  expect_close(fused_norm_gradient({grad_z, z, &before}), z_ref.grad(), 2e-2, "gradient through the norm");
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, FusedDepthwise,
    testing::Combine(kAllKernels, testing::Values(DepthwiseCase{2, 16, 54, 2, 1}, DepthwiseCase{2, 16, 60, 1, 3},
                                                  DepthwiseCase{3, 8, 120, 2, 3}, DepthwiseCase{1, 4, 240, 1, 3},
                                                  DepthwiseCase{2, 7, 33, 1, 1}, DepthwiseCase{2, 6, 12, 2, 3})));

class FusedOnDevice : public testing::TestWithParam<Kernels> {
 protected:
  void SetUp() override {
    if (const auto reason = missing(GetParam()); !reason.empty()) GTEST_SKIP() << reason;
    place_.emplace(GetParam());
  }
  std::optional<Place> place_;
};

TEST_P(FusedOnDevice, EndsABlockWithAdditionOrWithAPooledShortcut) {
  at::manual_seed(6);
  for (const std::int64_t channels : {60, 216, 240}) {
    FusedNorm norm = norm_over(channels);
    const at::Tensor z = images({3, channels, 4, 4}), residual = images(z.sizes()), y = at::empty_like(z);
    norm.count = z.numel() / z.size(1);
    fused_moments(z, norm.moments);
    fused_join({z, {}, &norm}, residual, y);
    at::Tensor z_ref = z.to(at::kDouble).requires_grad_();
    const auto shape = [](const at::Tensor& values) { return values.to(at::kDouble).view({1, -1, 1, 1}); };
    const at::Tensor mean = z_ref.mean({0, 2, 3}, true), var = (z_ref - mean).square().mean({0, 2, 3}, true);
    const at::Tensor y_ref = at::relu((z_ref - mean) * (var + norm.eps).rsqrt() * shape(norm.weight) +
                                      shape(norm.bias) + residual.to(at::kDouble));
    expect_close(y, y_ref, 5e-3, "result");
    const at::Tensor grad = images(y.sizes());
    y_ref.backward(grad.to(at::kDouble));
    const at::Tensor masked = fused_join_gradient(grad, y, {z, {}, &norm});
    expect_close(masked, grad.to(at::kDouble) * (y > 0), 0, "masked gradient");
    expect_close(fused_norm_gradient({masked, z, &norm}), z_ref.grad(), 2e-2, "gradient through the norm");

    // Appended to it: the average of what the block read.
    const at::Tensor x = images({3, 24, 8, 8});
    const at::Tensor both = at::empty({3, channels + 24, 4, 4}, x.options(), at::MemoryFormat::ChannelsLast);
    fused_join({z, {}, &norm}, {}, both);
    fused_pool(x, both);
    // Not channels_last: there LibTorch 2.11 computes this pooling's gradient wrongly on CUDA.
    at::Tensor x_ref = x.to(at::kDouble).contiguous().requires_grad_();
    const at::Tensor pooled = at::avg_pool2d(x_ref, 3, 2, 1);
    expect_close(both, at::cat({normalised(z.to(at::kDouble), norm), pooled}, 1), 5e-3, "concatenation");
    const at::Tensor grad_both = images(both.sizes());
    pooled.backward(grad_both.narrow(1, channels, 24).to(at::kDouble));
    expect_close(fused_pool_gradient(grad_both, x.sizes()), x_ref.grad(), 5e-3, "gradient of the pooling");
    norm.slopes.zero_();
    expect_close(fused_join_gradient(grad_both, both, {z, {}, &norm}),
                 grad_both.narrow(1, 0, channels).to(at::kDouble) * (both.narrow(1, 0, channels) > 0), 0,
                 "first channels");
  }
}

TEST_P(FusedOnDevice, NumbersTooLargeOrNoneMakeTheChannelNaN) {
  for (const double value : {1e30, static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    FusedNorm norm = norm_over(16);
    const at::Tensor z = images({2, 16, 4, 4}), y = at::empty_like(z);
    z.select(1, 3).fill_(value);
    norm.count = z.numel() / z.size(1);
    fused_moments(z, norm.moments);
    fused_join({z, {}, &norm}, {}, y);
    EXPECT_TRUE(y.select(1, 3).isnan().all().item<bool>());
    EXPECT_TRUE(y.select(1, 4).isfinite().all().item<bool>());
    fused_move_running({norm}, 0.1);
    EXPECT_TRUE(norm.running_mean.isnan().sum().item<std::int64_t>() == 1);
  }
}

TEST_P(FusedOnDevice, RunningStatisticsMoveAsBatchNormMovesThem) {
  FusedNorm norm = norm_over(24);
  const at::Tensor z = images({2, 24, 5, 5}), values = z.to(at::kDouble);
  norm.count = z.numel() / z.size(1);
  fused_moments(z, norm.moments);
  const at::Tensor mean = norm.running_mean.to(at::kDouble) * 0.9 + values.mean({0, 2, 3}) * 0.1;
  const at::Tensor var = norm.running_var.to(at::kDouble) * 0.9 + values.var({0, 2, 3}, /*unbiased=*/true) * 0.1;
  fused_move_running({norm}, 0.1);
  expect_close(norm.running_mean, mean, 1e-5, "mean");
  expect_close(norm.running_var, var, 1e-5, "variance");
}

TEST_P(FusedOnDevice, AStepOfSgdIsLibTorchs) {
  if (GetParam() == Kernels::kOwnOfCpu) GTEST_SKIP() << "a step on a CPU is LibTorch's";
  for (const double momentum : {0.0, 0.9})
    for (const bool nesterov : {false, true}) {
      if (nesterov && momentum == 0) continue;
      std::vector<at::Tensor> parameters{here(at::randn(1'000))}, momenta;
      if (momentum != 0) momenta.push_back(here(at::randn(1'000)));
      const std::vector<at::Tensor> gradients{here(at::randn(1'000))};
      const at::Tensor rate = here(at::full({}, 0.05)), own = parameters[0].clone();
      const at::Tensor own_momenta = momentum != 0 ? momenta[0].clone() : at::Tensor();
      fused_sgd(own, gradients[0], own_momenta, rate, {momentum, 5e-4, nesterov});
      at::_fused_sgd_(parameters, gradients, momenta, 5e-4, momentum, 0.05, 0, nesterov, false, false);
      EXPECT_TRUE(own.allclose(parameters[0], 1e-6, 1e-7));
      EXPECT_FALSE(own.equal(here(at::randn(1'000))));
      EXPECT_TRUE(momentum == 0 || own_momenta.allclose(momenta[0], 1e-6, 1e-7));
    }
}

TEST_P(FusedOnDevice, TermsAreSummedAndTheFirstBadStepIsKept) {
  const at::Tensor sums = here(at::zeros({2}, at::kDouble)), first_bad = here(at::full({2}, -1, at::kLong));
  for (const auto& [step, second] : std::vector<std::pair<int, double>>{{0, 1.5}, {1, INFINITY}, {2, NAN}})
    fused_add_terms({here(at::full({}, 2.0)), here(at::full({}, second))}, 10, here(at::full({}, step, at::kLong)),
                    sums, first_bad);
  EXPECT_EQ(sums[0].item<double>(), 60);
  EXPECT_TRUE(std::isnan(sums[1].item<double>()));
  EXPECT_EQ(first_bad[0].item<std::int64_t>(), -1);
  EXPECT_EQ(first_bad[1].item<std::int64_t>(), 1);
}

TEST_P(FusedOnDevice, TwoRunsGiveTheSameBits) {
  at::manual_seed(8);
  const at::Tensor z = images({16, 60, 16, 16}), grad = images({16, 240, 16, 16});
  const FusedConv conv{here(channels_last(at::randn({240, 20, 1, 1}).to(at::kBFloat16))), 1, 3};
  std::vector<at::Tensor> first;
  for (int run = 0; run < 3; ++run) {
    at::manual_seed(9);
    FusedNorm before = norm_over(60);
    before.count = z.numel() / z.size(1);
    fused_moments(z, before.moments);
    const at::Tensor moments = fixed(kMomentRows, 240), sums = fixed(1, conv.weight.numel()), bad = fixed(1, 1);
    const at::Tensor y = fused_conv({z, {}, &before}, conv, {}, moments);
    fused_conv_weight_gradient({grad}, {z, {}, &before}, conv, sums, bad);
    const at::Tensor grad_z = fused_conv_input_gradient({grad}, conv, z.sizes(), {z, {}, &before});
    const std::vector<at::Tensor> all{y, moments, sums, grad_z, before.slopes};
    for (std::size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(all[i].equal(first[i])) << i;
    if (first.empty()) first = all;
  }
}

INSTANTIATE_TEST_SUITE_P(Devices, FusedOnDevice, kAllKernels);

}  // namespace
}  // namespace ekd

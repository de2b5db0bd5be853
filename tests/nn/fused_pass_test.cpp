// Networks on the fused kernels, of a GPU and of the CPU, against LibTorch's operations.
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "ekd/core/device.h"
#include "ekd/models/registry.h"
#include "ekd/nn/layers.h"
#include "models/network.h"
#include "tests/support/fused_kernels.h"

namespace ekd {
namespace {

struct Step {
  double loss = 0;
  at::Tensor logits;
  std::map<std::string, at::Tensor> gradients, buffers;
};

struct Setting {
  at::Device device;
  std::int64_t batch, side;
};

Step step_of(const std::string& name, bool fused, bool training, Precision precision, const Setting& setting) {
  set_fused_kernels(fused);
  at::manual_seed(4);
  const auto model = make_model({.name = name, .classes = 10}, /*seed=*/1);
  model->to(setting.device);
  model->set_training(training);
  const at::Tensor images = at::randn({setting.batch, 3, setting.side, setting.side}).to(setting.device);
  const at::Tensor labels = at::randint(10, {setting.batch}, at::kLong).to(setting.device);
  Step step;
  {
    const AutocastGuard autocast(setting.device, precision);
    at::AutoGradMode mode(training);
    step.logits = model->forward(images).logits;
  }
  if (training) {
    const at::Tensor loss = at::cross_entropy_loss(step.logits.to(at::kFloat), labels);
    step.loss = loss.item<double>();
    loss.backward();
    step.logits = step.logits.detach();
    for (const auto& [parameter, tensor] : model->parameters()) step.gradients[parameter] = tensor.grad().cpu();
  }
  step.logits = step.logits.cpu();
  for (const auto& [buffer, tensor] : model->buffers()) step.buffers[buffer] = tensor.cpu();
  set_fused_kernels(true);
  return step;
}

double relative(const at::Tensor& actual, const at::Tensor& expected) {
  const at::Tensor a = actual.to(at::kDouble), b = expected.to(at::kDouble);
  return ((a - b).norm() / (b.norm() + 1e-12)).item<double>();
}

class FusedNetwork : public testing::TestWithParam<std::tuple<std::string, Kernels>> {
 protected:
  void SetUp() override {
    if (const auto reason = missing(kernels()); !reason.empty()) GTEST_SKIP() << reason;
  }
  Kernels kernels() const { return std::get<1>(GetParam()); }
  // Small where a warp is emulated.
  Setting setting() const {
    const std::int64_t emulated_side = std::get<0>(GetParam()).starts_with("shufflenet") ? 32 : 16;
    return kernels() == Kernels::kEmulated ? Setting{at::kCPU, 4, emulated_side}
                                           : Setting{device_of(kernels()), 64, 32};
  }

  Step exact(bool training) { return step_of(std::get<0>(GetParam()), false, training, Precision::kFp32, setting()); }
  Step plain(bool training) { return step_of(std::get<0>(GetParam()), false, training, Precision::kBf16, setting()); }
  Step fused(bool training) {
    const OnKernels on(kernels());
    return step_of(std::get<0>(GetParam()), true, training, Precision::kBf16, setting());
  }
};

// As far from float32 as LibTorch's own bfloat16, or nearer.
TEST_P(FusedNetwork, AStepIsAsExactAsBfloat16Allows) {
  const Step exact = this->exact(true), plain = this->plain(true), fused = this->fused(true);
  EXPECT_NEAR(fused.loss, exact.loss, 5e-2 * exact.loss);
  EXPECT_LT(relative(fused.logits, exact.logits), 1.3 * relative(plain.logits, exact.logits) + 1e-3);
  // Rounding to bfloat16 moves these gradients by as much as they are long: two ways of rounding are compared.
  double apart = 0, plain_apart = 0;
  for (const auto& [name, gradient] : exact.gradients) {
    ASSERT_TRUE(fused.gradients.at(name).defined()) << name;
    apart += (fused.gradients.at(name) - gradient).square().sum().item<double>();
    plain_apart += (plain.gradients.at(name) - gradient).square().sum().item<double>();
  }
  EXPECT_LT(apart, 2 * plain_apart);
  for (const auto& [name, buffer] : exact.buffers)
    EXPECT_LT(relative(fused.buffers.at(name), buffer), 1.5 * relative(plain.buffers.at(name), buffer) + 1e-3) << name;
}

TEST_P(FusedNetwork, EvaluationIsAsExactAsBfloat16Allows) {
  const Step exact = this->exact(false), plain = this->plain(false), fused = this->fused(false);
  EXPECT_LT(relative(fused.logits, exact.logits), 1.3 * relative(plain.logits, exact.logits) + 1e-3);
  EXPECT_FALSE(fused.logits.equal(plain.logits));
}

// Two readers of a convolution's result, one of them behind a norm; and an addition to a depthwise convolution.
class Shared final : public Network {
 public:
  explicit Shared(std::uint64_t seed)
      : Network({.name = "shared", .classes = 8}, seed),
        conv(root() / "conv", {.in = 3, .out = 8}, ConvStart::kFanInUniform),
        bn(root() / "bn", 8),
        wide(root() / "wide", {.in = 8, .out = 8, .kernel = 3, .groups = 8}, ConvStart::kFanInUniform) {}

 private:
  Outputs run(const Activation& images, bool training) const override {
    Activation z = conv(images);
    const Activation kept = z;
    const Activation y = wide.plus(kept, bn.relu(std::move(z), training));
    return {(y.tensor() * kept.tensor()).mean({2, 3}), {}};
  }

  Conv2d conv;
  BatchNorm bn;
  Conv2d wide;
};

// Three readers of the end of a block: a convolution, which makes it, then a norm, then an operation.
class EndOfBlock final : public Network {
 public:
  explicit EndOfBlock(std::uint64_t seed)
      : Network({.name = "end", .classes = 8}, seed),
        stem(root() / "stem", {.in = 3, .out = 8}, ConvStart::kFanInUniform),
        conv(root() / "conv", {.in = 8, .out = 8}, ConvStart::kFanInUniform),
        bn(root() / "bn", 8),
        next(root() / "next", {.in = 8, .out = 8}, ConvStart::kFanInUniform),
        after(root() / "after", 8) {}

 private:
  Outputs run(const Activation& images, bool training) const override {
    const at::Tensor x = stem(images);
    const Activation y = bn.relu(conv(with_pass(x, pass_of(images))), training, x);
    const Activation read = next(y);
    return {(read.tensor() * after.relu(y, training).tensor() + y.tensor()).mean({2, 3}), {}};
  }

  Conv2d stem, conv;
  BatchNorm bn;
  Conv2d next;
  BatchNorm after;
};

template <class Network>
void expect_gradients_of_all_readers() {
  at::manual_seed(6);
  const at::Tensor images = at::randn({8, 3, 8, 8});
  const auto gradients_of = [&](Precision precision) {
    Network network(/*seed=*/2);
    network.to(at::kCPU);
    network.set_training(true);
    at::Tensor logits;
    {
      const AutocastGuard autocast(at::kCPU, precision);
      logits = network.forward(images).logits.to(at::kFloat);
    }
    (logits * at::arange(8, at::kFloat)).sum().backward();
    std::map<std::string, at::Tensor> found{{"logits", logits.detach()}};
    for (const auto& [name, tensor] : network.parameters()) found[name] = tensor.grad().clone();
    return found;
  };
  const auto exact = gradients_of(Precision::kFp32);
  for (const Kernels kernels : {Kernels::kEmulated, Kernels::kOwnOfCpu}) {
    const OnKernels on(kernels);
    for (const auto& [name, value] : gradients_of(Precision::kBf16))
      EXPECT_LT(relative(value, exact.at(name)), 3e-2) << name;
  }
}

TEST(FusedPass, AResultThatOthersReadTooHasTheirGradientsAndNothingAddedIsLost) {
  expect_gradients_of_all_readers<Shared>();
}

TEST(FusedPass, TheEndOfABlockHasTheGradientsOfAllThatReadIt) { expect_gradients_of_all_readers<EndOfBlock>(); }

// Every layer is on them, and none does a thing twice.
TEST(FusedPass, LaunchesOfAStep) {
  const auto launches_of = [](const std::string& name, bool training) {
    std::array<int, std::variant_size_v<FusedTask>> counts{};
    set_fused_emulator([&counts](const FusedTask& task) { ++counts.at(task.index()); });
    const auto model = make_model({.name = name, .classes = 10}, /*seed=*/1);
    model->to(at::kCPU);
    model->set_training(training);
    at::AutoGradMode mode(training);
    at::Tensor logits;
    {
      const AutocastGuard autocast(at::kCPU, Precision::kBf16);
      logits = model->forward(at::zeros({2, 3, 32, 32})).logits;
    }
    if (training) logits.sum().backward();
    set_fused_emulator({});
    return std::vector<int>(counts.begin(), counts.begin() + 12);
  };
  // In the order of FusedTask: convolutions and their input gradients, weight gradients, those of pointwise ones, the
  // first two of dense ones of the kernels' own sizes, depthwise, block ends and norms, pooling, rounding, gradients,
  // running statistics, norms' gradients. ShuffleNet: a stem and 16 blocks of two convolutions and a depthwise one; 3
  // blocks pool. The stem's input needs no gradient. The other 13 blocks' ends, but for the last one, are
  // made, and their gradients masked, by the next block's first convolution.
  EXPECT_EQ(launches_of("shufflenet_v1", true),
            (std::vector<int>{33 + 32, 3, 30, 0, 0, 16 + 16, 3 + 1 + (3 + 1) + 1 + 1, 6, 1, 1, 2, 2}));
  EXPECT_EQ(launches_of("shufflenet_v1", false), (std::vector<int>{33, 0, 0, 0, 0, 16, 3 + 1 + 1, 3, 1, 0, 0, 0}));
  // WRN-40-2: a stem, 18 blocks of two dense convolutions and 3 shortcuts; gradients by the weights of strided ones are
  // not made by the dense kernels; the norm behind a sum (one a block, and the last) has a gradient of its own; the
  // last is done before the pooling.
  EXPECT_EQ(launches_of("wrn_40_2", true), (std::vector<int>{4 + 3, 5, 1, 36 + 36, 34, 0, 19 + 2, 0, 1, 1, 2, 2}));
  EXPECT_EQ(launches_of("wrn_40_2", false), (std::vector<int>{4, 0, 0, 36, 0, 0, 1, 0, 1, 0, 0, 0}));
}

INSTANTIATE_TEST_SUITE_P(Networks, FusedNetwork,
                         testing::Combine(testing::Values("shufflenet_v1", "wrn_40_2", "resnet8"), kAllKernels));

}  // namespace
}  // namespace ekd

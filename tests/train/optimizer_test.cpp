#include "ekd/train/optimizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "ekd/core/device.h"
#include "ekd/settings/config_io.h"
#include "tests/support/operator_trace.h"

namespace ekd {
namespace {

// Five steps of PyTorch's optimisers: tests/golden/optimizers.py, which says where the numbers come from.
class OptimizerGolden : public ::testing::TestWithParam<RateIn> {
 protected:
  static at::Tensor parameter(const at::Tensor& values) { return values.to(at::kFloat).requires_grad_(true); }

  static void expect_close(const at::Tensor& found, const nlohmann::json& expected) {
    const auto values = expected.get<std::vector<double>>();
    ASSERT_EQ(found.numel(), static_cast<std::int64_t>(values.size()));
    for (std::size_t i = 0; i < values.size(); ++i) {
      const double value = found.detach()[static_cast<std::int64_t>(i)].item<double>();
      EXPECT_NEAR(value, values[i], 1e-6 * std::abs(values[i])) << i;
    }
  }
};

TEST_P(OptimizerGolden, FiveStepsAreThoseOfPyTorch) {
  const auto golden = nlohmann::json::parse(std::ifstream(EKD_GOLDEN_DIR "/optimizers.json"));
  const at::Tensor i = at::arange(12, at::kDouble), k = at::arange(5, at::kDouble);
  for (const auto& [name, golden_case] : golden.at("cases").items()) {
    SCOPED_TRACE(name);
    nlohmann::json settings = golden_case.at("settings");
    const double scale = settings.value("scale", 1.0);
    settings.erase("scale");
    OptimConfig config;
    apply_json(optim_fields(config), {{"optim", settings}}, name);
    const at::Tensor first = parameter((i + 1).sin()), second = parameter(k.cos());
    Optimizer optimizer({{"first", first}, {"second", second}}, config, GetParam());
    std::vector<double> norms;
    for (int t = 0; t < 5; ++t) {
      first.mutable_grad() = (scale * (2 * i + t).sin()).to(at::kFloat);
      second.mutable_grad() = (scale * 3 * (k - t).cos()).to(at::kFloat);
      optimizer.set_rate(config.lr / (1 + t));
      const at::Tensor norm = optimizer.step();
      EXPECT_EQ(norm.defined(), config.clip_norm > 0);
      if (norm.defined()) norms.push_back(norm.item<double>());
    }
    expect_close(first, golden_case.at("parameters")[0]);
    expect_close(second, golden_case.at("parameters")[1]);
    ASSERT_EQ(norms.size(), golden_case.at("norms").size());
    for (std::size_t t = 0; t < norms.size(); ++t) EXPECT_NEAR(norms[t], golden_case["norms"][t], 1e-6 * norms[t]);
  }
}

INSTANTIATE_TEST_SUITE_P(Rate, OptimizerGolden, ::testing::Values(RateIn::kHost, RateIn::kTensor),
                         [](const auto& test_info) {
                           return test_info.param == RateIn::kHost ? "OnTheHost" : "InATensor";
                         });

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
  Optimizer sgd({{"weight", weight}, {"bias", bias}}, config);
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
  Optimizer sgd({{"weight", weight}}, config);
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
  Optimizer by_number({{"weight", left}}, config), by_tensor({{"weight", right}}, config, RateIn::kTensor);
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

TEST(AdamW, ItsStateIsNamedAndLiesAsTheParametersDo) {
  OptimConfig config;
  config.name = "adamw";
  const at::Tensor weight = at::randn({6, 4, 3, 3}).contiguous(at::MemoryFormat::ChannelsLast).requires_grad_(true);
  const at::Tensor bias = at::randn({7}).requires_grad_(true);
  Optimizer adamw({{"weight", weight}, {"bias", bias}}, config);
  const at::Tensor gradient = at::randn({6, 4, 3, 3});  // in another layout than the weights
  for (int step = 0; step < 3; ++step) {
    weight.mutable_grad() = gradient.clone();
    bias.mutable_grad() = at::full({7}, 2.0);
    adamw.set_rate(0.01);
    adamw.step();
  }
  const auto state = adamw.state();
  std::vector<std::string> names;
  for (const auto& named : state) names.push_back(named.name);
  EXPECT_EQ(names, (std::vector<std::string>{"exp_avg.weight", "exp_avg.bias", "exp_avg_sq.weight", "exp_avg_sq.bias",
                                             "steps"}));
  // An average of the same gradient from 0 is 1 − beta³ of it.
  EXPECT_TRUE(at::allclose(state[0].tensor, gradient * (1 - 0.9 * 0.9 * 0.9), 1e-5, 1e-7));
  EXPECT_TRUE(at::allclose(state[3].tensor, at::full({7}, 4 * (1 - 0.999 * 0.999 * 0.999)), 1e-4, 1e-7));
  EXPECT_EQ(state[4].tensor.item<double>(), 3);
}

// What a CUDA graph replays: no number of the host that changes between steps is among it.
TEST(Optimizer, AsksTheSameOfTheDeviceInEveryStep) {
  for (const char* name : {"sgd", "adamw"}) {
    OptimConfig config;
    config.name = name;
    config.clip_norm = 1;
    const at::Tensor weight = at::randn({6, 4}).requires_grad_(true), bias = at::randn({7}).requires_grad_(true);
    Optimizer optimizer({{"weight", weight}, {"bias", bias}}, config, RateIn::kTensor);
    const auto step = [&](double lr, double scale) {
      weight.mutable_grad() = at::full({6, 4}, scale);
      bias.mutable_grad() = at::full({7}, scale);
      optimizer.set_rate(lr);
      return test::operators_of([&] { optimizer.step(); });
    };
    const auto first = step(0.1, 0.01);
    for (int i = 0; i < 20; ++i) step(0.07, 3);
    EXPECT_GT(first.size(), 5U) << name;
    EXPECT_EQ(first, step(0.003, 100)) << name << " would be replayed with the numbers of its first steps";
  }
}

TEST(Optimizer, GradientsWithinTheNormKeepTheirBits) {
  for (const char* name : {"sgd", "adamw"}) {
    const at::Tensor start = at::randn({6, 4}), gradient = at::randn({6, 4});
    std::vector<at::Tensor> ends;
    for (const double clip_norm : {0.0, 1e4, 1e-3}) {
      OptimConfig config;
      config.name = name;
      config.clip_norm = clip_norm;
      ends.push_back(start.clone().requires_grad_(true));
      Optimizer optimizer({{"weight", ends.back()}}, config);
      ends.back().mutable_grad() = gradient.clone();
      optimizer.set_rate(0.1);
      optimizer.step();
    }
    EXPECT_TRUE(at::equal(ends[0], ends[1])) << name;
    EXPECT_FALSE(at::equal(ends[0], ends[2])) << name;
  }
}

// On CUDA a network's parameters lie in one buffer, with gaps, and so do the gradients of a fused pass.
TEST(Optimizer, ParametersInOneBufferMoveAsThoseApart) {
  if (const std::string reason = cuda_unavailable_reason(); !reason.empty()) GTEST_SKIP() << reason;
  for (const char* name : {"sgd", "adamw"}) {
    for (const double clip_norm : {0.0, 0.5}) {
      OptimConfig config;
      config.name = name;
      config.clip_norm = clip_norm;
      const at::Tensor buffer = at::zeros({128}, at::TensorOptions().device(at::kCUDA).dtype(at::kFloat));
      std::vector<NamedTensor> together, apart;
      for (const std::int64_t offset : {0, 64}) {
        const at::Tensor start = at::randn({5, 7}, buffer.options()), place = buffer.as_strided({5, 7}, {7, 1}, offset);
        place.copy_(start);
        together.push_back({std::to_string(offset), at::Tensor(place).requires_grad_(true)});
        apart.push_back({std::to_string(offset), at::Tensor(start).requires_grad_(true)});
      }
      Optimizer whole(together, config, RateIn::kTensor), each(apart, config, RateIn::kTensor);
      for (int step = 0; step < 3; ++step) {
        const at::Tensor gradients = at::zeros_like(buffer);
        for (const std::size_t i : {0, 1}) {
          const at::Tensor gradient = at::randn({5, 7}, buffer.options());
          at::Tensor place = gradients.as_strided({5, 7}, {7, 1}, together[i].tensor.storage_offset());
          together[i].tensor.mutable_grad() = place.copy_(gradient);
          apart[i].tensor.mutable_grad() = gradient;
        }
        for (auto* optimizer : {&whole, &each}) {
          optimizer->set_rate(0.01);
          optimizer->step();
        }
      }
      for (const std::size_t i : {0, 1})
        EXPECT_TRUE(at::allclose(together[i].tensor, apart[i].tensor, 1e-5, 1e-6)) << name << ' ' << clip_norm;
    }
  }
}

TEST(Sgd, DroppedGradientsAreNotApplied) {
  const at::Tensor weight = at::full({4}, 1.0).requires_grad_(true);
  Optimizer sgd({{"weight", weight}}, {});
  weight.mutable_grad() = at::full({4}, 2.0);
  sgd.drop_gradients();
  EXPECT_FALSE(weight.grad().defined());
}

}  // namespace
}  // namespace ekd

// What every network promises, over every row of the registry.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "ekd/core/error.h"
#include "ekd/models/registry.h"

namespace ekd {
namespace {

class EveryNetwork : public testing::TestWithParam<std::string> {
 protected:
  static std::unique_ptr<Classifier> make(std::int64_t classes = 100, std::uint64_t seed = 1) {
    return make_model({.name = GetParam(), .classes = classes}, seed);
  }
};

class CpuBfloat16 {
 public:
  CpuBfloat16() {
    at::autocast::set_autocast_dtype(at::kCPU, at::kBFloat16);
    at::autocast::set_autocast_enabled(at::kCPU, true);
    at::autocast::increment_nesting();
  }
  ~CpuBfloat16() {
    at::autocast::decrement_nesting();
    at::autocast::clear_cache();
    at::autocast::set_autocast_enabled(at::kCPU, false);
  }
  CpuBfloat16(const CpuBfloat16&) = delete;
  CpuBfloat16& operator=(const CpuBfloat16&) = delete;
};

TEST_P(EveryNetwork, TakesAnyBatchSizeAndNumberOfClasses) {
  for (const std::int64_t classes : {2, 10}) {
    const auto model = make(classes);
    EXPECT_EQ(model->spec().classes, classes);
    for (const std::int64_t batch : {1, 5}) {
      const Outputs outputs = model->forward(at::randn({batch, 3, 32, 32}));
      EXPECT_EQ(outputs.logits.sizes(), (std::vector<std::int64_t>{batch, classes}));
      EXPECT_TRUE(outputs.logits.isfinite().all().item<bool>());
    }
  }
}

TEST_P(EveryNetwork, TakesOtherChannelsAndSizes) {
  const auto model = make_model({.name = GetParam(), .classes = 4, .channels = 1}, 1);
  EXPECT_EQ(model->forward(at::randn({2, 1, 48, 40})).logits.sizes(), (std::vector<std::int64_t>{2, 4}));
  EXPECT_THROW(model->forward(at::randn({2, 3, 32, 32})), c10::Error);
}

TEST_P(EveryNetwork, FeaturesAreTheStagesInChannelsLast) {
  const Outputs outputs = make()->forward(at::randn({2, 3, 32, 32}));
  ASSERT_GE(outputs.features.size(), 2U);
  const auto& [last, pooled] = outputs.features.back();
  EXPECT_EQ(last, "pooled");
  std::int64_t size = 32, channels = 0;
  for (std::size_t stage = 0; stage + 1 < outputs.features.size(); ++stage) {
    const auto& [name, feature] = outputs.features[stage];
    EXPECT_GE(feature.size(1), channels) << name;
    channels = feature.size(1);
    if (feature.size(2) < size) size /= 2;
    EXPECT_EQ(feature.sizes(), (std::vector<std::int64_t>{2, channels, size, size})) << name;
    EXPECT_TRUE(feature.is_contiguous(at::MemoryFormat::ChannelsLast)) << name;
    EXPECT_TRUE(feature.requires_grad());
  }
  EXPECT_EQ(pooled.dim(), 2);
  EXPECT_GE(pooled.size(1), channels);
}

std::vector<std::int64_t> channels_of_stages(const std::string& model, const std::string& stage) {
  const Outputs outputs = make_model({.name = model}, 1)->forward(at::randn({2, 3, 32, 32}));
  std::vector<std::int64_t> channels;
  for (const int i : {1, 2, 3}) channels.push_back(outputs.feature(stage + std::to_string(i)).size(1));
  return channels;
}

TEST(Features, HaveTheNamesAndChannelsOfThePapersNetworks) {
  EXPECT_EQ(channels_of_stages("wrn_40_2", "block"), (std::vector<std::int64_t>{32, 64, 128}));
  EXPECT_EQ(channels_of_stages("shufflenet_v1", "layer"), (std::vector<std::int64_t>{240, 480, 960}));
}

TEST_P(EveryNetwork, PreactivationsAreWhatTheReluBehindAStageGets) {
  const auto model = make();
  for (int i = 0; i < 3; ++i) model->forward(at::randn({8, 3, 32, 32}));
  model->set_training(false);
  const at::NoGradGuard no_grad;
  const Outputs outputs = model->forward(at::randn({4, 3, 32, 32})), more = model->with_preactivations(outputs);
  const std::size_t added = more.features.size() - outputs.features.size();
  EXPECT_EQ(added, GetParam().starts_with("wrn_") ? 3U : 0U);
  for (std::size_t i = 0; i < added; ++i) {
    const auto& [name, tensor] = more.features[outputs.features.size() + i];
    EXPECT_EQ(name, outputs.features[i].name + std::string(kPreactivation));
    EXPECT_EQ(tensor.sizes(), outputs.features[i].tensor.sizes());
    EXPECT_LT(tensor.min().item<double>(), 0) << name;
  }
  if (added > 0) {  // behind the last one comes the pooling
    EXPECT_TRUE(at::allclose(more.features.back().tensor.relu().mean({2, 3}), outputs.feature("pooled"), 1e-4, 1e-5));
  }
}

TEST_P(EveryNetwork, LayoutOfTheImagesDoesNotMatter) {
  const auto model = make();
  model->set_training(false);
  const at::NoGradGuard no_grad;
  const at::Tensor images = at::randn({3, 3, 32, 32});
  EXPECT_TRUE(at::allclose(model->forward(images).logits,
                           model->forward(images.contiguous(at::MemoryFormat::ChannelsLast)).logits, 1e-5, 1e-5));
}

TEST_P(EveryNetwork, InEvaluationImagesDoNotSeeEachOther) {
  const auto model = make();
  for (int i = 0; i < 3; ++i)
    model->forward(at::randn({8, 3, 32, 32}));  // gives the running statistics something to say
  model->set_training(false);
  const at::NoGradGuard no_grad;
  const at::Tensor images = at::randn({5, 3, 32, 32});
  std::vector<at::Tensor> alone;
  for (const at::Tensor& image : images.split(1)) alone.push_back(model->forward(image).logits);
  EXPECT_TRUE(at::allclose(model->forward(images).logits, at::cat(alone), 1e-4, 1e-4));
}

TEST_P(EveryNetwork, StartDependsOnTheSeedAlone) {
  const auto global = at::globalContext().defaultGenerator(at::kCPU);
  const at::Tensor before = global.get_state();
  const auto first = make();
  EXPECT_TRUE(global.get_state().equal(before)) << "the global generator is not touched";
  at::randn({7});
  const auto second = make(), other = make(100, /*seed=*/2);
  const auto a = model_state(*first), b = model_state(*second), c = model_state(*other);
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].name, b[i].name);
    EXPECT_TRUE(a[i].tensor.equal(b[i].tensor)) << a[i].name;
    if (a[i].tensor.dim() > 1) {
      EXPECT_FALSE(a[i].tensor.equal(c[i].tensor)) << a[i].name;
    }
  }
}

TEST_P(EveryNetwork, NamesAreUniqueAndBuffersNeedNoGradient) {
  const auto model = make();
  std::set<std::string> names;
  for (const auto& [name, tensor] : model_state(*model)) EXPECT_TRUE(names.insert(name).second) << name;
  for (const auto& [name, tensor] : model->parameters())
    EXPECT_TRUE(tensor.is_leaf() && tensor.requires_grad()) << name;
  for (const auto& [name, tensor] : model->buffers()) EXPECT_FALSE(tensor.requires_grad()) << name;
}

TEST_P(EveryNetwork, MovingKeepsLeavesHandlesAndLayout) {
  const auto model = make();
  const auto before = model->parameters();
  model->to(at::kCPU);
  const auto after = model->parameters();
  model->forward(at::randn({4, 3, 32, 32})).logits.square().sum().backward();
  for (std::size_t i = 0; i < after.size(); ++i) {
    const auto& [name, parameter] = after[i];
    EXPECT_TRUE(parameter.is_same(before[i].tensor)) << name;
    EXPECT_TRUE(parameter.is_leaf() && parameter.requires_grad()) << name;
    if (parameter.dim() == 4) {
      EXPECT_TRUE(parameter.is_contiguous(at::MemoryFormat::ChannelsLast)) << name;
    }
    // The fused SGD call walks memory and checks nothing: gradients must lie as their parameters do.
    ASSERT_TRUE(parameter.grad().defined()) << name;
    for (std::int64_t d = 0; d < parameter.dim(); ++d) {
      if (parameter.size(d) == 1) continue;
      EXPECT_EQ(parameter.grad().stride(d), parameter.stride(d)) << name << ", axis " << d;
    }
  }
}

TEST_P(EveryNetwork, RunsUnderBfloat16Autocast) {
  const auto model = make();
  const at::Tensor images = at::randn({8, 3, 32, 32});
  at::Tensor logits;
  {
    const CpuBfloat16 autocast;
    logits = model->forward(images).logits;
  }
  EXPECT_EQ(logits.scalar_type(), at::kBFloat16);
  logits.to(at::kFloat).square().mean().backward();
  for (const auto& [name, parameter] : model->parameters()) {
    EXPECT_EQ(parameter.grad().scalar_type(), at::kFloat) << name;
    EXPECT_TRUE(parameter.grad().isfinite().all().item<bool>()) << name;
  }
  const at::NoGradGuard no_grad;
  const at::Tensor exact = model->forward(images).logits;
  // bfloat16 keeps 8 bits; over some fifty untrained layers that grows to a tenth of the logits' spread, or more where
  // blocks end without an activation.
  EXPECT_LT((logits - exact).norm().item<double>() / (exact - exact.mean()).norm().item<double>(), 0.4);
}

// One of each family; networks_test.cpp compares all of them.
INSTANTIATE_TEST_SUITE_P(Families, EveryNetwork,
                         testing::Values("wrn_40_2", "resnet8", "vgg8", "mobilenet_v2", "shufflenet_v1",
                                         "shufflenet_v2"));

TEST(Registry, LayoutsHaveTheNamesAndShapesOfTheNetworks) {
  for (const std::string& name : model_registry().names()) {
    const auto layout = model_layout({.name = name, .classes = 7}), state = model_state(*make_model({name, 7}, 0));
    ASSERT_EQ(layout.size(), state.size()) << name;
    for (std::size_t i = 0; i < state.size(); ++i) {
      EXPECT_EQ(layout[i].name, state[i].name);
      EXPECT_EQ(layout[i].tensor.sizes(), state[i].tensor.sizes()) << name << ", " << state[i].name;
      EXPECT_EQ(layout[i].tensor.scalar_type(), state[i].tensor.scalar_type()) << name << ", " << state[i].name;
    }
  }
}

TEST(Registry, EveryWideResNetIsKnown) {
  for (const char* name : {"wrn_28_10", "wrn_10_1", "wrn_40_4"}) EXPECT_TRUE(is_model(name)) << name;
  for (const char* name : {"wrn_41_2", "wrn_4_2", "wrn_40_0", "wrn_40_", "wrn__2", "wrn_40_2x", "wrn_40"})
    EXPECT_FALSE(is_model(name)) << name;
  EXPECT_EQ(parameter_count(*make_model({.name = "wrn_22_3"}, 0)), 2'439'156);
}

double standard_deviation(const at::Tensor& x) { return x.to(at::kDouble).std().item<double>(); }

// Of n draws the relative standard error of the deviation is 1/√(2n) for a normal, less for a uniform; five of them.
void expect_deviation(const NamedTensor& parameter, double expected) {
  EXPECT_NEAR(standard_deviation(parameter.tensor), expected,
              expected * 5 / std::sqrt(2.0 * static_cast<double>(parameter.tensor.numel())))
      << parameter.name;
}

TEST(Start, WideResNetConvolutionsAreNormalByFanOut) {
  const auto model = make_model({.name = "wrn_40_2"}, 5);
  for (const auto& parameter : model->parameters()) {
    const at::Tensor& w = parameter.tensor;
    if (w.dim() == 4) {
      const auto fan_out = static_cast<double>(w.size(2) * w.size(3) * w.size(0));
      expect_deviation(parameter, std::sqrt(2 / fan_out));
      EXPECT_NEAR(w.mean().item<double>(), 0, 5 * std::sqrt(2 / fan_out / static_cast<double>(w.numel())));
      // Beyond ±2σ lie 4.55 % of a normal's draws, none of a uniform's.
      if (w.numel() > 10000) {
        const auto tail = (w.abs() > 2 * std::sqrt(2 / fan_out)).to(at::kDouble).mean().item<double>();
        EXPECT_NEAR(tail, 0.0455, 5 * std::sqrt(0.0455 / 10000)) << parameter.name;
      }
    } else if (parameter.name == "fc.weight") {
      EXPECT_LE(w.abs().max().item<double>(), 1 / std::sqrt(128.0));
      expect_deviation(parameter, 1 / std::sqrt(128.0) / std::sqrt(3.0));
    } else {
      const double expected = parameter.name.ends_with(".weight") ? 1 : 0;  // batch norms, and fc.bias
      EXPECT_TRUE((w == expected).all().item<bool>()) << parameter.name;
    }
  }
}

TEST(Start, ShuffleNetIsUniformByFanIn) {
  const auto model = make_model({.name = "shufflenet_v1"}, 5);
  for (const auto& parameter : model->parameters()) {
    const at::Tensor& w = parameter.tensor;
    double bound = 0;
    if (w.dim() == 4) bound = 1 / std::sqrt(static_cast<double>(w.size(1) * w.size(2) * w.size(3)));
    if (parameter.name.starts_with("linear.")) bound = 1 / std::sqrt(960.0);
    if (bound > 0) {
      EXPECT_LE(w.abs().max().item<double>(), bound * (1 + 1e-6)) << parameter.name;
      expect_deviation(parameter, bound / std::sqrt(3.0));
    } else {
      const double expected = parameter.name.ends_with(".weight") ? 1 : 0;
      EXPECT_TRUE((w == expected).all().item<bool>()) << parameter.name;
    }
  }
}

TEST(ModelRegistry, UnknownNamesAndEmptySpecsAreUsageErrors) {
  try {
    make_model({.name = "wrn_40_2_"}, 0);
    FAIL() << "an unknown network was made";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean wrn_40_2?"), std::string::npos) << error.what();
  }
  EXPECT_THROW(make_model({.name = "wrn_40_2", .classes = 0}, 0), UsageError);
}

}  // namespace
}  // namespace ekd

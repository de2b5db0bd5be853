// ShuffleNetV2 of width 1, in the form that the field uses for 32×32 images (1×1 stem, no pooling in it). Ma et al.,
// "ShuffleNet V2: practical guidelines for efficient CNN architecture design", ECCV 2018.
#include <ATen/ops/cat.h>

#include <memory>
#include <optional>
#include <string>

#include "ekd/nn/layers.h"
#include "models/families.h"
#include "models/network.h"

namespace ekd {
namespace {

constexpr std::int64_t kSplitStem = 24, kSplitHead = 1024;

// The branches' channels, interleaved.
Activation joined(const Activation& left, const Activation& right) {
  return shuffle_channels(with_pass(at::cat({left, right}, 1), pass_of(left)), 2);
}

// 1×1, 3×3 depthwise, 1×1: the branch that computes. Its layers count from `first`.
struct SplitBranch {
  SplitBranch(const Scope& scope, int first, std::int64_t in, std::int64_t out, std::int64_t stride)
      : conv1(scope / ("conv" + std::to_string(first)), {.in = in, .out = out}, ConvStart::kFanInUniform),
        bn1(scope / ("bn" + std::to_string(first)), out),
        conv2(scope / ("conv" + std::to_string(first + 1)),
              {.in = out, .out = out, .kernel = 3, .stride = stride, .groups = out}, ConvStart::kFanInUniform),
        bn2(scope / ("bn" + std::to_string(first + 1)), out),
        conv3(scope / ("conv" + std::to_string(first + 2)), {.in = out, .out = out}, ConvStart::kFanInUniform),
        bn3(scope / ("bn" + std::to_string(first + 2)), out) {}

  Activation operator()(const Activation& x, bool training) const {
    return conv3.then(bn3, bn2(conv2(conv1.then(bn1, x, training)), training), training);
  }

  Conv2d conv1;
  BatchNorm bn1;
  Conv2d conv2;
  BatchNorm bn2;
  Conv2d conv3;
  BatchNorm bn3;
};

// Halves the image: both branches see all channels.
struct DownBlock {
  DownBlock(const Scope& scope, std::int64_t in, std::int64_t out)
      : conv1(scope / "conv1", {.in = in, .out = in, .kernel = 3, .stride = 2, .groups = in}, ConvStart::kFanInUniform),
        bn1(scope / "bn1", in),
        conv2(scope / "conv2", {.in = in, .out = out / 2}, ConvStart::kFanInUniform),
        bn2(scope / "bn2", out / 2),
        right(scope, 3, in, out / 2, 2) {}

  Activation operator()(const Activation& x, bool training) const {
    return joined(conv2.then(bn2, bn1(conv1(x), training), training), right(x, training));
  }

  Conv2d conv1;
  BatchNorm bn1;
  Conv2d conv2;
  BatchNorm bn2;
  SplitBranch right;
};

// Keeps the shape: the first half of the channels passes by.
struct SplitBlock {
  SplitBlock(const Scope& scope, std::int64_t channels) : branch(scope, 1, channels / 2, channels / 2, 1) {}

  Activation operator()(const Activation& activation, bool training) const {
    const at::Tensor x = activation;
    const std::int64_t half = x.size(1) / 2;
    const at::Tensor right = x.narrow(1, half, half).contiguous(at::MemoryFormat::ChannelsLast);
    return joined(with_pass(x.narrow(1, 0, half), pass_of(activation)),
                  branch(with_pass(right, pass_of(activation)), training));
  }

  SplitBranch branch;
};

struct SplitStage : Stage<SplitBlock> {
  SplitStage(const Scope& scope, std::int64_t in, std::int64_t out, int count) : down(scope / "0", in, out) {
    for (int i = 1; i <= count; ++i) blocks.emplace_back(scope / std::to_string(i), out);
  }

  Activation operator()(const Activation& x, bool training) const {
    return Stage<SplitBlock>::operator()(down(x, training), training);
  }

  DownBlock down;
};

class ShuffleNetV2 final : public Network {
 public:
  ShuffleNetV2(const ModelSpec& spec, StartSeed seed)
      : Network(spec, seed),
        conv1(root() / "conv1", {.in = spec.channels, .out = kSplitStem}, ConvStart::kFanInUniform),
        bn1(root() / "bn1", kSplitStem),
        layer1(root() / "layer1", kSplitStem, 116, 3),
        layer2(root() / "layer2", 116, 232, 7),
        layer3(root() / "layer3", 232, 464, 3),
        conv2(root() / "conv2", {.in = 464, .out = kSplitHead}, ConvStart::kFanInUniform),
        bn2(root() / "bn2", kSplitHead),
        linear(root() / "linear", kSplitHead, spec.classes, LinearStart::kUniform) {}

 private:
  Outputs run(const Activation& images, bool training) const override {
    const Activation stage1 = layer1(conv1.then(bn1, images, training), training);
    const Activation stage2 = layer2(stage1, training);
    const Activation stage3 = layer3(stage2, training);
    const at::Tensor pooled = conv2.then(bn2, stage3, training).tensor().mean({2, 3});
    return {linear(pooled), {{"layer1", stage1}, {"layer2", stage2}, {"layer3", stage3}, {"pooled", pooled}}};
  }

  Conv2d conv1;
  BatchNorm bn1;
  SplitStage layer1, layer2, layer3;
  Conv2d conv2;
  BatchNorm bn2;
  Linear linear;
};

}  // namespace

// Features: "layer1", "layer2", "layer3" (116, 232 and 464 channels) and "pooled" [N, 1024].
std::unique_ptr<Classifier> make_shufflenet_v2(const ModelSpec& spec, StartSeed seed) {
  return std::make_unique<ShuffleNetV2>(spec, seed);
}

}  // namespace ekd

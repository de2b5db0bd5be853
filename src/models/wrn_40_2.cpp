#include "ekd/models/wrn_40_2.h"

#include <optional>
#include <string>
#include <utility>

#include "ekd/models/layers.h"
#include "ekd/models/network.h"

namespace ekd {
namespace {

constexpr int kDepth = 40;
constexpr int kWiden = 2;
constexpr int kBlocks = (kDepth - 4) / 6;  // per stage: three stages of blocks of two convolutions
constexpr std::int64_t kWideStem = 16;

// The activation comes before the convolutions; where the width changes, the shortcut branches off behind it.
// With gradients off a block without convShortcut may write its result over x: no stage hands out the input of such a
// one.
struct WideBlock {
  WideBlock(const Scope& scope, std::int64_t in, std::int64_t out, std::int64_t stride)
      : bn1(scope / "bn1", in),
        conv1(scope / "conv1", {.in = in, .out = out, .kernel = 3, .stride = stride}, ConvStart::kFanOutNormal),
        bn2(scope / "bn2", out),
        conv2(scope / "conv2", {.in = out, .out = out, .kernel = 3}, ConvStart::kFanOutNormal) {
    if (in != out) {
      convShortcut.emplace(scope / "convShortcut", ConvShape{.in = in, .out = out, .stride = stride},
                           ConvStart::kFanOutNormal);
    }
  }

  Activation operator()(const Activation& x, bool training) const {
    if (!convShortcut) return conv2.plus(x, conv1.between(bn1, bn2, x, training));
    const Activation activated = bn1.relu(x, training);
    return conv2.plus((*convShortcut)(activated), conv1.then(bn2, activated, training));
  }

  BatchNorm bn1;
  Conv2d conv1;
  BatchNorm bn2;
  Conv2d conv2;
  std::optional<Conv2d> convShortcut;
};

struct WideStage {
  WideStage(const Scope& scope, std::int64_t in, std::int64_t out, std::int64_t stride) {
    layer.reserve(kBlocks);
    for (int i = 0; i < kBlocks; ++i) {
      layer.emplace_back(scope / "layer" / std::to_string(i), i == 0 ? in : out, out, i == 0 ? stride : 1);
    }
  }

  Activation operator()(Activation x, bool training) const {
    for (const auto& block : layer) x = block(x, training);
    return x;
  }

  std::vector<WideBlock> layer;
};

class WideResNet final : public Network {
 public:
  WideResNet(const ModelSpec& spec, std::uint64_t seed)
      : Network(spec, seed),
        conv1(root() / "conv1", {.in = spec.channels, .out = kWideStem, .kernel = 3}, ConvStart::kFanOutNormal),
        block1(root() / "block1", kWideStem, 16 * kWiden, 1),
        block2(root() / "block2", 16 * kWiden, 32 * kWiden, 2),
        block3(root() / "block3", 32 * kWiden, 64 * kWiden, 2),
        bn1(root() / "bn1", 64 * kWiden),
        fc(root() / "fc", 64 * kWiden, spec.classes, BiasStart::kZero) {}

 private:
  Outputs run(const Activation& images, bool training) const override {
    const Activation stage1 = block1(conv1(images), training);
    const Activation stage2 = block2(stage1, training);
    const Activation stage3 = block3(stage2, training);
    const at::Tensor pooled = bn1.relu(stage3, training).tensor().mean({2, 3});
    return {fc(pooled), {{"block1", stage1}, {"block2", stage2}, {"block3", stage3}, {"pooled", pooled}}};
  }

  Conv2d conv1;
  WideStage block1, block2, block3;
  BatchNorm bn1;
  Linear fc;
};

}  // namespace

std::unique_ptr<Classifier> make_wrn_40_2(const ModelSpec& spec, std::uint64_t seed) {
  return std::make_unique<WideResNet>(spec, seed);
}

}  // namespace ekd

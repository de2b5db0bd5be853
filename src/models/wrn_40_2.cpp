// Wide residual networks. Zagoruyko and Komodakis, BMVC 2016; pre-activation blocks, no dropout.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "ekd/nn/layers.h"
#include "models/network.h"

namespace ekd {
namespace {

constexpr std::int64_t kWideStem = 16;

// The activation comes before the convolutions; where the width changes, the shortcut branches off behind it.
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

  // The addition gets x by move: with gradients off it may write the sum over x, unless somebody else holds x.
  Activation operator()(Activation x, bool training) const {
    if (!convShortcut) {
      const Activation inner = conv1.between(bn1, bn2, x, training);
      return conv2.plus(std::move(x), inner);
    }
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
  WideStage(const Scope& scope, int blocks, std::int64_t in, std::int64_t out, std::int64_t stride) {
    layer.reserve(blocks);
    for (int i = 0; i < blocks; ++i) {
      layer.emplace_back(scope / "layer" / std::to_string(i), i == 0 ? in : out, out, i == 0 ? stride : 1);
    }
  }

  Activation operator()(Activation x, bool training) const {
    for (const auto& block : layer) x = block(std::move(x), training);
    return x;
  }

  std::vector<WideBlock> layer;
};

class WideResNet final : public Network {
 public:
  // depth 6 · n + 4: three stages of n blocks of two convolutions.
  WideResNet(const ModelSpec& spec, std::uint64_t seed, int depth, std::int64_t widen)
      : Network(spec, seed),
        conv1(root() / "conv1", {.in = spec.channels, .out = kWideStem, .kernel = 3}, ConvStart::kFanOutNormal),
        block1(root() / "block1", (depth - 4) / 6, kWideStem, 16 * widen, 1),
        block2(root() / "block2", (depth - 4) / 6, 16 * widen, 32 * widen, 2),
        block3(root() / "block3", (depth - 4) / 6, 32 * widen, 64 * widen, 2),
        bn1(root() / "bn1", 64 * widen),
        fc(root() / "fc", 64 * widen, spec.classes, BiasStart::kZero) {}

  Outputs with_preactivations(Outputs outputs) const override {
    const BatchNorm* const behind[] = {&block2.layer[0].bn1, &block3.layer[0].bn1, &bn1};
    for (int stage = 0; stage < 3; ++stage) {
      const auto [name, tensor] = outputs.features[stage];
      outputs.features.push_back({name + std::string(kPreactivation), (*behind[stage])(tensor, /*training=*/false)});
    }
    return outputs;
  }

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

// Features: "block1", "block2", "block3" (32, 64 and 128 channels, before normalisation and activation) and "pooled"
// [N, 128]; with_preactivations adds "block1.preactivation" and so on.
std::unique_ptr<Classifier> make_wrn_40_2(const ModelSpec& spec, std::uint64_t seed) {
  return std::make_unique<WideResNet>(spec, seed, /*depth=*/40, /*widen=*/2);
}

}  // namespace ekd

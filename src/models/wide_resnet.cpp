// Wide residual networks. Zagoruyko and Komodakis, BMVC 2016; pre-activation blocks, no dropout.
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "ekd/core/text.h"
#include "ekd/nn/layers.h"
#include "models/families.h"
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

struct WideStage : Stage<WideBlock> {
  WideStage(const Scope& scope, std::int64_t count, std::int64_t in, std::int64_t out, std::int64_t stride) {
    blocks.reserve(count);
    for (std::int64_t i = 0; i < count; ++i)
      blocks.emplace_back(scope / "layer" / std::to_string(i), i == 0 ? in : out, out, i == 0 ? stride : 1);
  }
};

struct WideShape {
  std::int64_t depth = 0, width = 0;  // depth 6 · n + 4: three stages of n blocks of two convolutions
};

std::optional<WideShape> wide_shape(const std::string& name) {
  constexpr std::string_view kPrefix = "wrn_";
  const auto bar = name.find('_', kPrefix.size());
  if (!name.starts_with(kPrefix) || bar == std::string::npos) return std::nullopt;
  const auto depth = whole_number(name.substr(kPrefix.size(), bar - kPrefix.size()));
  const auto width = whole_number(name.substr(bar + 1));
  const bool made = depth && width && *depth >= 10 && *depth <= 1000 && *depth % 6 == 4 && *width >= 1 && *width <= 64;
  return made ? std::optional(WideShape{*depth, *width}) : std::nullopt;
}

class WideResNet final : public Network {
 public:
  WideResNet(const ModelSpec& spec, StartSeed seed, const WideShape& shape)
      : WideResNet(spec, seed, (shape.depth - 4) / 6, 16 * shape.width) {}

  Outputs with_preactivations(Outputs outputs) const override {
    const BatchNorm* const behind[] = {&block2.blocks[0].bn1, &block3.blocks[0].bn1, &bn1};
    for (int stage = 0; stage < 3; ++stage) {
      const auto [name, tensor] = outputs.features[stage];
      outputs.features.push_back({name + std::string(kPreactivation), (*behind[stage])(tensor, /*training=*/false)});
    }
    return outputs;
  }

 private:
  // `width`: channels of the first stage; the later ones have two and four times as many.
  WideResNet(const ModelSpec& spec, StartSeed seed, std::int64_t count, std::int64_t width)
      : Network(spec, seed),
        conv1(root() / "conv1", {.in = spec.channels, .out = kWideStem, .kernel = 3}, ConvStart::kFanOutNormal),
        block1(root() / "block1", count, kWideStem, width, 1),
        block2(root() / "block2", count, width, 2 * width, 2),
        block3(root() / "block3", count, 2 * width, 4 * width, 2),
        bn1(root() / "bn1", 4 * width),
        fc(root() / "fc", 4 * width, spec.classes, LinearStart::kZeroBias) {}

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

bool is_wide_resnet(const std::string& name) { return wide_shape(name).has_value(); }

// Features: "block1", "block2", "block3" (16, 32 and 64 channels times the width, before normalisation and activation)
// and "pooled"; with_preactivations adds "block1.preactivation" and so on.
std::unique_ptr<Classifier> make_wide_resnet(const ModelSpec& spec, StartSeed seed) {
  return std::make_unique<WideResNet>(spec, seed, wide_shape(spec.name).value());
}

}  // namespace ekd

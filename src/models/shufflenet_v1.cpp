// ShuffleNetV1 with three groups, in the form that the field uses for 32×32 images (no pooling in the stem).
// Zhang et al., "ShuffleNet: an extremely efficient convolutional neural network for mobile devices", CVPR 2018.
#include <memory>
#include <string>

#include "ekd/nn/layers.h"
#include "models/families.h"
#include "models/network.h"

namespace ekd {
namespace {

constexpr std::int64_t kGroups = 3;
constexpr std::int64_t kShuffleStem = 24;

struct ShuffleShape {
  std::int64_t in = 0, out = 0;
  std::int64_t stride = 1;           // 2: the shortcut is a pooling and its channels are appended
  std::int64_t in_groups = kGroups;  // of the first convolution and the shuffle
};

struct ShuffleBlock {
  ShuffleBlock(const Scope& scope, const ShuffleShape& shape)
      : ShuffleBlock(scope, shape, shape.stride == 1 ? shape.out : shape.out - shape.in) {}

  Activation operator()(const Activation& x, bool training) const {
    const Activation first = shuffle_channels(bn1.relu(conv1(x), training), in_groups);
    const Activation second = bn2.relu(conv2(first), training);
    if (stride == 1) return bn3.relu(conv3(second), training, x);
    // The definition has one ReLU behind the concatenation. x comes out of a ReLU, so its average is not negative and
    // needs none; where the average is 0 the gradient that this lets through meets only zeros of that earlier ReLU.
    return append_pooled(bn3.relu(conv3(second), training), x);
  }

  std::int64_t stride, in_groups;
  Conv2d conv1;
  BatchNorm bn1;
  Conv2d conv2;
  BatchNorm bn2;
  Conv2d conv3;
  BatchNorm bn3;

 private:
  ShuffleBlock(const Scope& scope, const ShuffleShape& shape, std::int64_t last)
      : ShuffleBlock(scope, shape, last / 4, last) {}

  // `last` channels come out of the third convolution, `middle` go through the first two.
  ShuffleBlock(const Scope& scope, const ShuffleShape& shape, std::int64_t middle, std::int64_t last)
      : stride(shape.stride),
        in_groups(shape.in_groups),
        conv1(scope / "conv1", {.in = shape.in, .out = middle, .groups = shape.in_groups}, ConvStart::kFanInUniform),
        bn1(scope / "bn1", middle),
        conv2(scope / "conv2", {.in = middle, .out = middle, .kernel = 3, .stride = shape.stride, .groups = middle},
              ConvStart::kFanInUniform),
        bn2(scope / "bn2", middle),
        conv3(scope / "conv3", {.in = middle, .out = last, .groups = kGroups}, ConvStart::kFanInUniform),
        bn3(scope / "bn3", last) {}
};

struct ShuffleStage : Stage<ShuffleBlock> {
  ShuffleStage(const Scope& scope, std::int64_t in, std::int64_t out, int count) {
    blocks.reserve(count);
    blocks.emplace_back(scope / "0", ShuffleShape{in, out, /*stride=*/2, in == kShuffleStem ? 1 : kGroups});
    for (int i = 1; i < count; ++i) blocks.emplace_back(scope / std::to_string(i), ShuffleShape{out, out});
  }
};

class ShuffleNet final : public Network {
 public:
  ShuffleNet(const ModelSpec& spec, StartSeed seed)
      : Network(spec, seed),
        conv1(root() / "conv1", {.in = spec.channels, .out = kShuffleStem}, ConvStart::kFanInUniform),
        bn1(root() / "bn1", kShuffleStem),
        layer1(root() / "layer1", kShuffleStem, 240, 4),
        layer2(root() / "layer2", 240, 480, 8),
        layer3(root() / "layer3", 480, 960, 4),
        linear(root() / "linear", 960, spec.classes, LinearStart::kUniform) {}

 private:
  Outputs run(const Activation& images, bool training) const override {
    const Activation stage1 = layer1(bn1.relu(conv1(images), training), training);
    const Activation stage2 = layer2(stage1, training);
    const Activation stage3 = layer3(stage2, training);
    const at::Tensor pooled = stage3.tensor().mean({2, 3});
    return {linear(pooled), {{"layer1", stage1}, {"layer2", stage2}, {"layer3", stage3}, {"pooled", pooled}}};
  }

  Conv2d conv1;
  BatchNorm bn1;
  ShuffleStage layer1, layer2, layer3;
  Linear linear;
};

}  // namespace

// Features: "layer1", "layer2", "layer3" (240, 480 and 960 channels, after their activation) and "pooled" [N, 960].
std::unique_ptr<Classifier> make_shufflenet_v1(const ModelSpec& spec, StartSeed seed) {
  return std::make_unique<ShuffleNet>(spec, seed);
}

}  // namespace ekd

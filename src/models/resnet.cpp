// Residual networks. He et al., "Deep residual learning for image recognition", CVPR 2016: of basic blocks as in its
// §4.2 for small images, and ResNet-50 of bottlenecks with a stem for small images (3×3, no pooling). Where the shape
// changes, the shortcut is a 1×1 convolution with batch norm.
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ekd/core/text.h"
#include "ekd/nn/layers.h"
#include "models/families.h"
#include "models/network.h"

namespace ekd {
namespace {

struct ResidualShape {
  std::int64_t in = 0, out = 0;
  std::int64_t stride = 1;
};

// Past a block.
struct Shortcut {
  Shortcut(const Scope& scope, const ResidualShape& shape) {
    if (shape.in == shape.out && shape.stride == 1) return;
    conv.emplace(scope / "0", ConvShape{.in = shape.in, .out = shape.out, .stride = shape.stride},
                 ConvStart::kFanOutNormal);
    norm.emplace(scope / "1", shape.out);
  }

  Activation operator()(const Activation& x, bool training) const { return conv ? (*norm)((*conv)(x), training) : x; }

  std::optional<Conv2d> conv;
  std::optional<BatchNorm> norm;
};

struct BasicBlock {
  BasicBlock(const Scope& scope, const ResidualShape& shape)
      : conv1(scope / "conv1", {.in = shape.in, .out = shape.out, .kernel = 3, .stride = shape.stride},
              ConvStart::kFanOutNormal),
        bn1(scope / "bn1", shape.out),
        conv2(scope / "conv2", {.in = shape.out, .out = shape.out, .kernel = 3}, ConvStart::kFanOutNormal),
        bn2(scope / "bn2", shape.out),
        downsample(scope / "downsample", shape) {}

  Activation operator()(const Activation& x, bool training) const {
    return bn2.relu(conv2(conv1.then(bn1, x, training)), training, downsample(x, training));
  }

  Conv2d conv1;
  BatchNorm bn1;
  Conv2d conv2;
  BatchNorm bn2;
  Shortcut downsample;
};

struct Bottleneck {
  static constexpr std::int64_t kExpansion = 4;

  Bottleneck(const Scope& scope, const ResidualShape& shape) : Bottleneck(scope, shape, shape.out / kExpansion) {}

  Activation operator()(const Activation& x, bool training) const {
    const Activation inner = conv2.then(bn2, conv1.then(bn1, x, training), training);
    return bn3.relu(conv3(inner), training, shortcut(x, training));
  }

  Conv2d conv1;
  BatchNorm bn1;
  Conv2d conv2;
  BatchNorm bn2;
  Conv2d conv3;
  BatchNorm bn3;
  Shortcut shortcut;

 private:
  Bottleneck(const Scope& scope, const ResidualShape& shape, std::int64_t middle)
      : conv1(scope / "conv1", {.in = shape.in, .out = middle}, ConvStart::kFanOutNormal),
        bn1(scope / "bn1", middle),
        conv2(scope / "conv2", {.in = middle, .out = middle, .kernel = 3, .stride = shape.stride},
              ConvStart::kFanOutNormal),
        bn2(scope / "bn2", middle),
        conv3(scope / "conv3", {.in = middle, .out = shape.out}, ConvStart::kFanOutNormal),
        bn3(scope / "bn3", shape.out),
        shortcut(scope / "shortcut", shape) {}
};

struct ResidualStage {
  std::int64_t blocks = 0, channels = 0;
};

// "layer1" and so on; all stages but the first halve the image.
template <class Block>
class ResNet final : public Network {
 public:
  ResNet(const ModelSpec& spec, StartSeed seed, std::int64_t stem, const std::vector<ResidualStage>& stages,
         const std::string& head)
      : Network(spec, seed),
        conv1(root() / "conv1", {.in = spec.channels, .out = stem, .kernel = 3}, ConvStart::kFanOutNormal),
        bn1(root() / "bn1", stem),
        layers(make_layers(root(), stem, stages)),
        fc(root() / head, stages.back().channels, spec.classes, LinearStart::kUniform) {}

 private:
  static std::vector<Stage<Block>> make_layers(const Scope& root, std::int64_t in,
                                               const std::vector<ResidualStage>& stages) {
    std::vector<Stage<Block>> layers(stages.size());
    for (std::size_t stage = 0; stage < stages.size(); ++stage) {
      const Scope scope = root / ("layer" + std::to_string(stage + 1));
      const auto [count, out] = stages[stage];
      layers[stage].blocks.reserve(count);
      for (std::int64_t i = 0; i < count; ++i) {
        const std::int64_t stride = i == 0 && stage > 0 ? 2 : 1;
        layers[stage].blocks.emplace_back(scope / std::to_string(i), ResidualShape{in, out, stride});
        in = out;
      }
    }
    return layers;
  }

  Outputs run(const Activation& images, bool training) const override {
    Activation x = conv1.then(bn1, images, training);
    Outputs outputs;
    for (std::size_t stage = 0; stage < layers.size(); ++stage) {
      x = layers[stage](x, training);
      outputs.features.push_back({"layer" + std::to_string(stage + 1), x});
    }
    const at::Tensor pooled = x.tensor().mean({2, 3});
    outputs.features.push_back({"pooled", pooled});
    outputs.logits = fc(pooled);
    return outputs;
  }

  Conv2d conv1;
  BatchNorm bn1;
  std::vector<Stage<Block>> layers;
  Linear fc;
};

}  // namespace

// Features: "layer1", "layer2", "layer3" (16, 32 and 64 channels; 64, 128 and 256 with "x4") and "pooled".
std::unique_ptr<Classifier> make_resnet(const ModelSpec& spec, StartSeed seed) {
  const bool wide = spec.name.ends_with("x4");
  const auto digits = spec.name.find_first_of("0123456789");
  const auto depth = whole_number(spec.name.substr(digits, spec.name.find('x') - digits)).value();
  const std::int64_t count = (depth - 2) / 6, width = wide ? 64 : 16;
  return std::make_unique<ResNet<BasicBlock>>(
      spec, seed, wide ? 32 : 16, std::vector<ResidualStage>{{count, width}, {count, 2 * width}, {count, 4 * width}},
      "fc");
}

// Features: "layer1" to "layer4" (256, 512, 1024 and 2048 channels) and "pooled".
std::unique_ptr<Classifier> make_resnet_50(const ModelSpec& spec, StartSeed seed) {
  return std::make_unique<ResNet<Bottleneck>>(
      spec, seed, 64, std::vector<ResidualStage>{{3, 256}, {4, 512}, {6, 1024}, {3, 2048}}, "linear");
}

}  // namespace ekd

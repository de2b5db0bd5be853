// MobileNetV2 at half width, for small images. Sandler et al., "MobileNetV2: inverted residuals and linear
// bottlenecks", CVPR 2018; with the strides and the plain ReLU of the field's distillation benchmarks.
#include <memory>
#include <string>
#include <vector>

#include "ekd/nn/layers.h"
#include "models/families.h"
#include "models/network.h"

namespace ekd {
namespace {

constexpr std::int64_t kMobileStem = 16, kMobileHead = 1280;

struct InvertedStage {
  std::int64_t expansion, channels, blocks, stride;
};
constexpr InvertedStage kInvertedStages[] = {{1, 8, 1, 1},  {6, 12, 2, 1}, {6, 16, 3, 2}, {6, 32, 4, 2},
                                             {6, 48, 3, 1}, {6, 80, 3, 2}, {6, 160, 1, 1}};

// Wide inside, narrow and without activation between the blocks.
struct InvertedResidual {
  InvertedResidual(const Scope& scope, std::int64_t in, std::int64_t out, std::int64_t stride, std::int64_t expansion)
      : adds(stride == 1 && in == out),
        expand(scope / "0", {.in = in, .out = in * expansion}, ConvStart::kFanOutNormal),
        expand_bn(scope / "1", in * expansion),
        depthwise(
            scope / "3",
            {.in = in * expansion, .out = in * expansion, .kernel = 3, .stride = stride, .groups = in * expansion},
            ConvStart::kFanOutNormal),
        depthwise_bn(scope / "4", in * expansion),
        project(scope / "6", {.in = in * expansion, .out = out}, ConvStart::kFanOutNormal),
        project_bn(scope / "7", out) {}

  Activation operator()(const Activation& x, bool training) const {
    const Activation wide = depthwise.then(depthwise_bn, expand.then(expand_bn, x, training), training);
    const Activation narrow = project_bn(project(wide), training);
    return adds ? plus(narrow, x) : narrow;
  }

  bool adds;
  Conv2d expand;
  BatchNorm expand_bn;
  Conv2d depthwise;
  BatchNorm depthwise_bn;
  Conv2d project;
  BatchNorm project_bn;
};

class MobileNet final : public Network {
 public:
  MobileNet(const ModelSpec& spec, StartSeed seed)
      : Network(spec, seed),
        conv1(root() / "conv1" / "0", {.in = spec.channels, .out = kMobileStem, .kernel = 3, .stride = 2},
              ConvStart::kFanOutNormal),
        conv1_bn(root() / "conv1" / "1", kMobileStem),
        blocks(make_blocks(root() / "blocks")),
        conv2(root() / "conv2" / "0", {.in = std::end(kInvertedStages)[-1].channels, .out = kMobileHead},
              ConvStart::kFanOutNormal),
        conv2_bn(root() / "conv2" / "1", kMobileHead),
        classifier(root() / "classifier" / "0", kMobileHead, spec.classes, LinearStart::kNormal) {}

 private:
  static std::vector<Stage<InvertedResidual>> make_blocks(const Scope& scope) {
    std::vector<Stage<InvertedResidual>> stages(std::size(kInvertedStages));
    std::int64_t in = kMobileStem;
    for (std::size_t stage = 0; stage < stages.size(); ++stage) {
      const auto& [expansion, out, count, stride] = kInvertedStages[stage];
      for (std::int64_t i = 0; i < count; ++i) {
        const Scope block = scope / std::to_string(stage) / std::to_string(i) / "conv";
        stages[stage].blocks.emplace_back(block, in, out, i == 0 ? stride : 1, expansion);
        in = out;
      }
    }
    return stages;
  }

  Outputs run(const Activation& images, bool training) const override {
    Activation x = conv1.then(conv1_bn, images, training);
    Outputs outputs;
    for (std::size_t stage = 0; stage < blocks.size(); ++stage) {
      x = blocks[stage](x, training);
      if (stage == 1 || stage == 2 || stage == 4 || stage == 6)  // the last of its size and width
        outputs.features.push_back({"blocks" + std::to_string(stage), x});
    }
    const at::Tensor pooled = conv2.then(conv2_bn, x, training).tensor().mean({2, 3});
    outputs.features.push_back({"pooled", pooled});
    outputs.logits = classifier(pooled);
    return outputs;
  }

  Conv2d conv1;
  BatchNorm conv1_bn;
  std::vector<Stage<InvertedResidual>> blocks;
  Conv2d conv2;
  BatchNorm conv2_bn;
  Linear classifier;
};

}  // namespace

// Features: "blocks1", "blocks2", "blocks4", "blocks6" (12, 16, 48 and 160 channels at a half to a sixteenth of the
// image's sides, without activation) and "pooled" [N, 1280].
std::unique_ptr<Classifier> make_mobilenet_v2(const ModelSpec& spec, StartSeed seed) {
  return std::make_unique<MobileNet>(spec, seed);
}

}  // namespace ekd

// VGG with batch norm for small images. Simonyan and Zisserman, "Very deep convolutional networks for large-scale image
// recognition", ICLR 2015; one fully connected layer instead of three. Its convolutions keep their biases.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ekd/nn/layers.h"
#include "models/families.h"
#include "models/network.h"

namespace ekd {
namespace {

constexpr std::int64_t kVggWidths[] = {64, 128, 256, 512, 512};

struct VggLayer {
  // Place `index` in its block's list of convolution, normalisation, ReLU, convolution, …
  VggLayer(const Scope& block, int index, std::int64_t in, std::int64_t out)
      : conv(block / std::to_string(index), {.in = in, .out = out, .kernel = 3, .bias = true},
             ConvStart::kFanOutNormal),
        bn(block / std::to_string(index + 1), out) {}

  Activation operator()(const Activation& x, bool training) const { return conv.then(bn, x, training); }

  Conv2d conv;
  BatchNorm bn;
};

class Vgg final : public Network {
 public:
  Vgg(const ModelSpec& spec, StartSeed seed, const std::vector<int>& convolutions)
      : Network(spec, seed),
        stages(make_stages(root(), spec.channels, convolutions)),
        classifier(root() / "classifier", kVggWidths[4], spec.classes, LinearStart::kNormal) {}

 private:
  static std::vector<Stage<VggLayer>> make_stages(const Scope& root, std::int64_t in,
                                                  const std::vector<int>& convolutions) {
    std::vector<Stage<VggLayer>> stages(convolutions.size());
    for (std::size_t stage = 0; stage < stages.size(); ++stage) {
      const Scope scope = root / ("block" + std::to_string(stage));
      for (int i = 0; i < convolutions[stage]; ++i) {
        stages[stage].blocks.emplace_back(scope, 3 * i, in, kVggWidths[stage]);
        in = kVggWidths[stage];
      }
    }
    return stages;
  }

  // A pooling after each of the first three stages, and after the fourth where the image has 64 rows or more.
  Outputs run(const Activation& images, bool training) const override {
    const std::size_t poolings = images.tensor().size(2) >= 64 ? 4 : 3;
    Activation x = images;
    Outputs outputs;
    for (std::size_t stage = 0; stage < stages.size(); ++stage) {
      x = stages[stage](x, training);
      outputs.features.push_back({"block" + std::to_string(stage), x});
      if (stage < poolings) x = max_pool(x);
    }
    const at::Tensor pooled = x.tensor().mean({2, 3});
    outputs.features.push_back({"pooled", pooled});
    outputs.logits = classifier(pooled);
    return outputs;
  }

  std::vector<Stage<VggLayer>> stages;
  Linear classifier;
};

}  // namespace

// Features: "block0" to "block4" (64, 128, 256, 512 and 512 channels) and "pooled".
std::unique_ptr<Classifier> make_vgg(const ModelSpec& spec, StartSeed seed) {
  static const std::map<std::string, std::vector<int>> kConvolutions{{"vgg8", {1, 1, 1, 1, 1}},
                                                                     {"vgg11", {1, 1, 2, 2, 2}},
                                                                     {"vgg13", {2, 2, 2, 2, 2}},
                                                                     {"vgg16", {2, 2, 3, 3, 3}},
                                                                     {"vgg19", {2, 2, 4, 4, 4}}};
  return std::make_unique<Vgg>(spec, seed, kConvolutions.at(spec.name));
}

}  // namespace ekd

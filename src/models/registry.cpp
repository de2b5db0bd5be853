#include "ekd/models/registry.h"

#include <utility>
#include <vector>

#include "models/families.h"

namespace ekd {

const Registry<ModelRow>& model_registry() {
  static const Registry<ModelRow> registry("model", [] {
    std::vector<ModelRow> rows{
        {"wrn_40_2", "wide residual network, depth 40, width 2: the paper's teacher", make_wide_resnet},
        {"shufflenet_v1", "ShuffleNetV1, 3 groups: the paper's student", make_shufflenet_v1},
        {"shufflenet_v2", "ShuffleNetV2, width 1", make_shufflenet_v2},
        {"mobilenet_v2", "MobileNetV2, half width", make_mobilenet_v2}};
    for (const char* name : {"wrn_16_1", "wrn_16_2", "wrn_40_1"})
      rows.push_back({name, "wide residual network of that depth and width", make_wide_resnet});
    for (const char* depth : {"8", "14", "20", "32", "44", "56", "110"})
      rows.push_back({std::string("resnet") + depth, "residual network of that depth", make_resnet});
    for (const char* name : {"resnet8x4", "resnet32x4"})
      rows.push_back({name, "residual network with four times the channels in its stages", make_resnet});
    rows.push_back({"resnet50", "ResNet-50 with bottleneck blocks", make_resnet_50});
    for (const char* depth : {"8", "11", "13", "16", "19"})
      rows.push_back({std::string("vgg") + depth, "VGG of that depth, with batch norm", make_vgg});
    return rows;
  }());
  return registry;
}

namespace {

std::unique_ptr<Classifier> make(const ModelSpec& spec, std::optional<std::uint64_t> seed) {
  if (is_wide_resnet(spec.name)) return make_wide_resnet(spec, seed);
  return model_registry().at(spec.name).make(spec, seed);
}

}  // namespace

bool is_model(const std::string& name) { return is_wide_resnet(name) || model_registry().find(name) != nullptr; }

Accepted model_names() {
  Accepted accepted = one_of(model_registry().names());
  accepted.also = is_wide_resnet;
  accepted.also_text = "wrn_DEPTH_WIDTH";
  return accepted;
}

std::unique_ptr<Classifier> make_model(const ModelSpec& spec, std::uint64_t seed) { return make(spec, seed); }

std::vector<NamedTensor> model_layout(const ModelSpec& spec) { return model_state(*make(spec, std::nullopt)); }

bool is_mostly_dense(const std::string& name) {
  std::int64_t dense = 0, all = 0;
  for (const auto& [key, tensor] : model_layout({.name = name})) {
    if (tensor.dim() != 4) continue;
    all += tensor.numel();
    if (tensor.size(2) == 3 && tensor.size(1) > 1) dense += tensor.numel();
  }
  return 2 * dense > all;
}

}  // namespace ekd

#include "ekd/models/registry.h"

namespace ekd {

// Each is defined in the source of its name.
std::unique_ptr<Classifier> make_wrn_40_2(const ModelSpec& spec, std::uint64_t seed);
std::unique_ptr<Classifier> make_shufflenet_v1(const ModelSpec& spec, std::uint64_t seed);

const Registry<ModelRow>& model_registry() {
  static const Registry<ModelRow> registry(
      "model", {{"wrn_40_2", "wide residual network, depth 40, width 2: the paper's teacher", make_wrn_40_2},
                {"shufflenet_v1", "ShuffleNetV1, 3 groups: the paper's student", make_shufflenet_v1}});
  return registry;
}

std::unique_ptr<Classifier> make_model(const ModelSpec& spec, std::uint64_t seed) {
  return model_registry().at(spec.name).make(spec, seed);
}

}  // namespace ekd

#include "ekd/models/registry.h"

#include "ekd/models/shufflenet_v1.h"
#include "ekd/models/wrn_40_2.h"

namespace ekd {

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

#include "ekd/models/settings.h"

#include "ekd/models/registry.h"

namespace ekd {

std::vector<Field> model_fields(ModelConfig& model) {
  return {
      {"model.name", &model.name, model_names(), "--model", "the network to train"},
      {"model.init", &model.init, {}, "--init", "safetensors weights to start from"},
  };
}

}  // namespace ekd

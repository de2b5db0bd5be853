// Which network is trained, and from which weights.
#pragma once

#include <string>
#include <vector>

#include "ekd/core/field.h"

namespace ekd {

struct ModelConfig {
  std::string name = "wrn_40_2";
  std::string init;  // safetensors weights to start from
};

std::vector<Field> model_fields(ModelConfig& model);

}  // namespace ekd

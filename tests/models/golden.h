// Reference values made with PyTorch: tests/golden.
#pragma once

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "ekd/core/tensor_file.h"

namespace ekd {

inline TensorFile golden_tensors(const std::string& name) {
  return read_tensor_file(std::string(EKD_GOLDEN_DIR) + "/" + name + ".safetensors");
}

// The numbers under `key` in expect.json.
inline nlohmann::json golden_numbers(const std::string& key) {
  std::ifstream file(std::string(EKD_GOLDEN_DIR) + "/expect.json");
  return nlohmann::json::parse(file).at(key);
}

}  // namespace ekd

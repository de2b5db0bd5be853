// The networks by name.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "ekd/core/registry.h"
#include "ekd/models/classifier.h"

namespace ekd {

struct ModelRow {
  std::string name;
  std::string help;
  // Initialised from `seed` alone, on the CPU.
  std::unique_ptr<Classifier> (*make)(const ModelSpec& spec, std::uint64_t seed);
};

const Registry<ModelRow>& model_registry();

// Throws UsageError for an unknown name.
std::unique_ptr<Classifier> make_model(const ModelSpec& spec, std::uint64_t seed);

}  // namespace ekd

// The networks by name.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "ekd/core/field.h"
#include "ekd/core/registry.h"
#include "ekd/models/classifier.h"

namespace ekd {

struct ModelRow {
  std::string name;
  std::string help;
  // Initialised from `seed` alone, on the CPU; without a seed the tensors have shapes and no values (device "meta").
  std::unique_ptr<Classifier> (*make)(const ModelSpec& spec, std::optional<std::uint64_t> seed);
};

// Those with published numbers; make_model knows every wide residual network besides.
const Registry<ModelRow>& model_registry();

// Whether make_model knows it: a row, or wrn_DEPTH_WIDTH with a depth of 6 · n + 4.
bool is_model(const std::string& name);

// For a setting that names a network.
Accepted model_names();

// Throws UsageError for an unknown name.
std::unique_ptr<Classifier> make_model(const ModelSpec& spec, std::uint64_t seed);

// Names and shapes of parameters and buffers, in the order of model_state; the tensors hold no values. Throws
// UsageError for an unknown name.
std::vector<NamedTensor> model_layout(const ModelSpec& spec);

// Whether most weights of its convolutions belong to dense 3×3 ones, and so most of its arithmetic. Throws UsageError
// for an unknown name.
bool is_mostly_dense(const std::string& name);

}  // namespace ekd

// What `ekd evaluate` and `ekd predict` have in common: who is asked and with which weight, how networks compute, and a
// temperature for what they say.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "ekd/core/field.h"

namespace ekd {

struct EvaluationMember {
  std::string path;
  double weight = 1;
  bool predictions = false;  // a saved file, not a network
};

// "PATH" or "PATH@WEIGHT": the weight follows the last '@' where what follows is a number. Throws UsageError for a
// weight that is negative.
EvaluationMember parse_member(const std::string& text, bool predictions);

// [{"path", "weight"}]
nlohmann::ordered_json to_json(const std::vector<EvaluationMember>& members);

struct InferenceConfig {
  std::string model;  // for weights that do not say what they are
  std::string device = "auto", precision = "fp32";
  std::int64_t batch_size = 256, threads = 0;
};

// Pointers lead into `inference`.
std::vector<Field> inference_fields(InferenceConfig& inference);

// Logits are divided by a temperature that is given, or fitted where `fit`; else they stay.
struct TemperatureConfig {
  std::optional<double> value;
  bool fit = false;
  std::string fit_on;  // predictions file; else the validation split
};

// The keys are SECTION.temperature and so on; `fitted_on` says what the fit is on where no file is given.
std::vector<Field> temperature_fields(TemperatureConfig& temperature, const std::string& section,
                                      const std::string& fitted_on);

struct AppliedTemperature {
  double value = 1;
  std::optional<double> nll;  // on what it was fitted on
};

// {"value", "nll": null or a number}, or null.
nlohmann::ordered_json to_json(const std::optional<AppliedTemperature>& temperature);

}  // namespace ekd

// What `ekd evaluate` does: members (networks or saved predictions), combined by weight, into metrics.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ekd/data/settings.h"
#include "ekd/evaluate/members.h"
#include "ekd/metrics/metrics.h"

namespace ekd {

struct EvaluationRequest {
  std::vector<EvaluationMember> members;
  DataConfig data;
  std::set<std::string> given;  // keys; data settings that are not among them come from the members' runs
  std::string split = "test";
  InferenceConfig inference;
  std::vector<std::int64_t> bins{kReportedBins.begin(), kReportedBins.end()};
  TemperatureConfig temperature;
  std::string save_predictions;  // file to write, or empty
};

// The settings among the request's members. Pointers lead into `request`.
std::vector<Field> evaluation_fields(EvaluationRequest& request);

struct EvaluationResult {
  Metrics metrics;  // after scaling where there is a temperature
  std::optional<AppliedTemperature> temperature;
  std::vector<EvaluationMember> members;
};

// Throws UsageError, DataError, WeightsError, IoError, MemoryError.
EvaluationResult run_evaluation(const EvaluationRequest& request);

// The metrics, then "temperature": {"value", "nll"} or null, and "members": [{"path", "weight"}].
nlohmann::ordered_json to_json(const EvaluationResult& result);

}  // namespace ekd

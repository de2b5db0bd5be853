// What `ekd evaluate` does: members (networks or saved predictions), combined by weight, into metrics.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ekd/data/settings.h"
#include "ekd/metrics/metrics.h"

namespace ekd {

struct EvaluationMember {
  std::string path;
  double weight = 1;
  bool predictions = false;  // a saved file, not a network
};

// "PATH" or "PATH@WEIGHT": the weight follows the last '@' where what follows is a number. Throws UsageError for a
// weight that is negative.
EvaluationMember parse_member(const std::string& text, bool predictions);

struct EvaluationRequest {
  std::vector<EvaluationMember> members;
  DataConfig data;
  std::set<std::string> given;  // keys; data settings that are not among them come from the members' runs
  std::string split = "test";
  std::string model;  // for weights that do not say what they are
  std::string device = "auto", precision = "fp32";
  std::int64_t batch_size = 256, threads = 0;
  std::vector<std::int64_t> bins{kReportedBins.begin(), kReportedBins.end()};
  std::optional<double> temperature;
  bool fit_temperature = false;
  std::string fit_on;            // predictions file; else the validation split
  std::string save_predictions;  // file to write, or empty
};

// The settings among the request's members. Pointers lead into `request`.
std::vector<Field> evaluation_fields(EvaluationRequest& request);

struct EvaluationResult {
  Metrics metrics;  // after scaling where there is a temperature
  std::optional<double> temperature;
  std::optional<double> fitted_nll;  // on what the temperature was fitted on
  std::vector<EvaluationMember> members;
};

// Throws UsageError, DataError, WeightsError, IoError, MemoryError.
EvaluationResult run_evaluation(const EvaluationRequest& request);

// The metrics, then "temperature": {"value", "nll"} or null, and "members": [{"path", "weight"}].
nlohmann::ordered_json to_json(const EvaluationResult& result);

nlohmann::ordered_json to_json(const std::vector<EvaluationMember>& members);

}  // namespace ekd

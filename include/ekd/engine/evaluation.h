// What `ekd evaluate` does: members (networks or saved predictions), combined by weight, into metrics.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "ekd/core/config.h"
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

// Data settings that were given; the others come from the members' runs.
struct DataOverrides {
  std::optional<std::string> dataset, dir;
  std::optional<std::int64_t> train_limit, test_limit, classes, val_size;
};

struct EvaluationRequest {
  std::vector<EvaluationMember> members;
  DataOverrides data;
  std::string split = "test";
  std::string model;  // for weights that do not say what they are
  std::string device = "auto", precision = "fp32";
  std::int64_t batch_size = 256, threads = 0;
  std::vector<int> bins = kReportedBins;
  std::optional<double> temperature;
  bool fit_temperature = false;
  std::string fit_on;            // predictions file; else the validation split
  std::string save_predictions;  // file to write, or empty
};

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

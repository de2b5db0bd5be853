// One training from settings to result.json: what train-teacher, train-student and distill share.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ekd/core/config_fields.h"
#include "ekd/run/progress.h"

namespace ekd {

struct TrainingRequest {
  Command command = Command::kTrainTeacher;
  Config config;
  std::filesystem::path run_dir;
  bool resume = false;
  ProgressStyle progress = ProgressStyle::kNone;
  std::vector<std::string> command_line;  // for run.json
};

struct TrainingOutcome {
  int stopped = 0;                // not 0: the stop_request() that was obeyed, with a checkpoint
  nlohmann::ordered_json result;  // what result.json holds; empty where stopped
};

// What the registries of this build accept, for config_fields.
Catalogue catalogue();

// Checks everything that can be checked without creating the run directory, and says what would be trained.
// Throws as run_training does.
nlohmann::ordered_json plan_training(const TrainingRequest& request);

// Trains, or goes on, to the end or to a signal. A finished run that need not go on returns its result at once.
// Throws UsageError, DataError, WeightsError before the run directory is made; later LockedError, IoError, MemoryError,
// NonFiniteError.
TrainingOutcome run_training(const TrainingRequest& request);

}  // namespace ekd

// Trainings from settings to result.json: what train-teacher, train-student and distill share. One run is a group of
// one.
#pragma once

#include <exception>
#include <filesystem>
#include <functional>
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
  nlohmann::ordered_json result;  // what result.json holds; empty where stopped or failed
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

// Told at once when a run of a group has failed, by its index and with what run_training would have thrown.
using OnFailure = std::function<void(std::size_t run, const std::exception_ptr& error)>;

// Trains runs that agree in everything but model, optimiser, objective, teachers and evaluation (same_batches in
// plan_groups.h) in one process: each batch is made once, and seen once by each of the teachers. Every run's files are
// those of run_training, up to times; a run that fails ends alone. Outcomes come in the order of the requests.
std::vector<TrainingOutcome> run_group(const std::vector<TrainingRequest>& requests, const OnFailure& on_failure);

}  // namespace ekd

// Trainings from settings to result.json: what train-teacher, train-student and distill share.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "ekd/runs/progress.h"
#include "ekd/settings/config.h"
#include "ekd/train/fit.h"

namespace ekd {

// Throws UsageError where the distillation's settings cannot go together.
void check_distillation(const Config& config);

struct TrainingRequest {
  Command command = Command::kTrainTeacher;
  Config config;
  std::filesystem::path run_dir;
  bool resume = false;
  ProgressStyle progress = ProgressStyle::kNone;
  std::vector<std::string> command_line;  // for run.json
  nlohmann::json overrides;               // likewise, of a plan's row: the settings given over the plan's
  std::string goes_on = "--resume";       // what goes on with the run after a stop
  Pace* pace = nullptr;                   // of all trainings of this process, where there may be several at a time
};

struct TrainingOutcome {
  int stopped = 0;                // not 0: the stop_request() that was obeyed, with a checkpoint
  nlohmann::ordered_json result;  // what result.json holds; empty where stopped or failed
  std::optional<Failure> failure;
};

// Checks everything that can be checked without creating the run directory, and says what would be trained. Throws
// UsageError, DataError, WeightsError.
nlohmann::ordered_json plan_training(const TrainingRequest& request);

// Trains one or several runs, or goes on with them, to the end or to a signal. Several calls may be under way on
// threads of their own, on other runs that agree in run.deterministic and run.fused; their requests have a `pace`. Runs
// of one call agree in everything but model, optimiser, objective, teachers and evaluation (same_batches in
// plan_rows.h): each batch is made once, and seen once by each of the teachers. Every run's files are those it would
// write alone, up to times; a run that fails ends alone, and `on_failure` is told at once. A finished run that need not
// go on has its result at once. Outcomes come in the order of the requests. Failures of a request, data or weights come
// before a run directory is made, those of locks, files, memory and numbers that are not finite later.
std::vector<TrainingOutcome> run_trainings(const std::vector<TrainingRequest>& requests,
                                           const OnFailure& on_failure = {});

}  // namespace ekd

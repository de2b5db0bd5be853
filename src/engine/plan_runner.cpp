#include "ekd/engine/plan_runner.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <thread>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/signals.h"
#include "ekd/engine/evaluation.h"
#include "ekd/engine/plan_rows.h"
#include "ekd/engine/stored_settings.h"
#include "ekd/engine/training_run.h"
#include "ekd/run/metric_log.h"
#include "ekd/run/run_dir.h"

namespace ekd {
namespace {

constexpr std::chrono::milliseconds kPoll{500};

// run.json of a row whose last process ended with an error.
bool has_failed(const std::filesystem::path& folder) {
  const auto path = folder / "run.json";
  if (!std::filesystem::exists(path)) return false;
  const auto bytes = read_file(path);
  const auto* text = reinterpret_cast<const char*>(bytes.data());
  const auto record = nlohmann::json::parse(text, text + bytes.size(), nullptr, /*allow_exceptions=*/false);
  return record.is_object() && record.value("status", "") == "failed";
}

bool wants_more_epochs(const PlanRow& row) {
  return row.run != nullptr && row.config.optim.epochs > stored_settings(row.folder, row.run->command).optim.epochs;
}

RowState state_of(const PlanRow& row) {
  if (run_is_held(row.folder)) return RowState::kRunning;
  if (run_state(row.folder) == RunState::kFinished)
    return wants_more_epochs(row) ? RowState::kPending : RowState::kDone;
  return has_failed(row.folder) ? RowState::kFailed : RowState::kPending;
}

RowStatus status_of(const PlanRow& row) {
  RowStatus status{.name = row.name, .seed = row.seed, .state = state_of(row)};
  if (row.run == nullptr) return status;
  status.epochs = row.config.optim.epochs;
  double seconds = 0;
  for (const auto& line : read_metrics(row.folder / "metrics.jsonl")) {
    status.epoch = std::max(status.epoch, line["epoch"].get<std::int64_t>() + 1);
    seconds += line.value("seconds", 0.0);
  }
  const double left = static_cast<double>(status.epochs - status.epoch);
  status.seconds_left =
      status.epoch > 0 ? seconds / static_cast<double>(status.epoch) * left : std::numeric_limits<double>::quiet_NaN();
  if (status.state == RowState::kDone) status.seconds_left = 0;
  return status;
}

// The weighted ensemble of the members' saved predictions; `file` is their name in each run's folder.
nlohmann::ordered_json evaluate_members(const PlanRequest& request, const PlanRow& row, const std::string& file,
                                        const std::filesystem::path& save) {
  EvaluationRequest evaluation;
  evaluation.device = "cpu";
  evaluation.save_predictions = save.string();
  for (const auto& member : row.evaluation->members)
    evaluation.members.push_back(
        {(plan_folder(request.out, member.run, row.seed) / file).string(), member.weight, true});
  return run_evaluation(evaluation);
}

void make_evaluation(const PlanRequest& request, const PlanRow& row) {
  const RunDir dir(row.folder);
  if (std::filesystem::exists(dir.result())) return;
  const bool validated = std::ranges::all_of(row.evaluation->members, [&](const PlanMember& member) {
    return std::filesystem::exists(plan_folder(request.out, member.run, row.seed) / dir.val_predictions().filename());
  });
  if (validated) evaluate_members(request, row, dir.val_predictions().filename().string(), dir.val_predictions());
  auto metrics = evaluate_members(request, row, dir.predictions().filename().string(), dir.predictions());
  nlohmann::ordered_json result = {{"command", "evaluate"}, {"seed", row.seed}, {"members", metrics["members"]}};
  metrics.erase("members");
  metrics.erase("temperature");
  result["last"] = metrics;
  write_file_atomically(dir.result(), result.dump(2) + "\n");
  spdlog::info("{}: accuracy {:.2f} %, ece {:.4f} (15 bins)", row.folder.string(),
               100 * metrics["accuracy"].get<double>(), metrics["calibration"]["15"]["ece"].get<double>());
}

// One pass over the rows after another until nothing is left that can be done.
class PlanLoop {
 public:
  explicit PlanLoop(const PlanRequest& request) : request_(request), rows_(unroll_plan(request)) {}

  PlanOutcome run() {
    check_finished();
    while (outcome_.stopped == 0) {
      outcome_.stopped = stop_request();
      if (outcome_.stopped != 0) break;
      bool worked = false, waits = false;
      for (std::size_t i = 0; i < rows_.size() && !worked; ++i) worked = try_row(i, waits);
      if (worked) continue;
      if (!waits) break;
      std::this_thread::sleep_for(kPoll);
    }
    return outcome_;
  }

 private:
  // Rows that have finished under other settings are an error before anything is run.
  void check_finished() const {
    for (const auto& row : rows_)
      if (row.run != nullptr && run_state(row.folder) != RunState::kAbsent)
        check_settings_agree(row.config, row.folder, row.run->command);
  }

  // Whether something was done. `waits` becomes true where a row waits for another process.
  bool try_row(std::size_t i, bool& waits) {
    if (failed_.contains(i)) return false;
    const PlanRow& row = rows_[i];
    const RowState state = state_of(row);
    if (state == RowState::kDone || state == RowState::kRunning) return false;
    for (const std::size_t need : row.needs) {
      if (failed_.contains(need)) {
        failed_.insert(i);
        spdlog::warn("{}: left out, it needs {}", row.folder.string(), rows_[need].folder.string());
        return true;
      }
      const RowState needed = state_of(rows_[need]);
      if (needed == RowState::kRunning) waits = true;
      if (needed != RowState::kDone) return false;
    }
    make(i);
    return true;
  }

  void make(std::size_t i) {
    const PlanRow& row = rows_[i];
    try {
      if (row.run != nullptr) {
        spdlog::info("{}", row.folder.string());
        const TrainingOutcome outcome = run_training({.command = row.run->command,
                                                      .config = row.config,
                                                      .run_dir = row.folder,
                                                      .resume = true,
                                                      .progress = request_.progress,
                                                      .command_line = request_.command_line});
        outcome_.stopped = outcome.stopped;
      } else {
        make_evaluation(request_, row);
      }
      if (outcome_.stopped == 0) ++outcome_.made;
    } catch (const LockedError&) {
      // Another process was quicker; its row is running now.
    } catch (const Error& error) {
      fail(i, static_cast<int>(error.code()), error.what());
    }
  }

  void fail(std::size_t i, int code, const std::string& message) {
    spdlog::error("{}", message);
    failed_.insert(i);
    if (outcome_.exit_code == 0) outcome_.exit_code = code;
  }

  const PlanRequest& request_;
  std::vector<PlanRow> rows_;
  std::set<std::size_t> failed_;  // in this call, or left out because of such a row
  PlanOutcome outcome_;
};

}  // namespace

std::string row_state_name(RowState state) {
  switch (state) {
    case RowState::kPending:
      return "pending";
    case RowState::kRunning:
      return "running";
    case RowState::kDone:
      return "done";
    case RowState::kFailed:
      return "failed";
  }
  return {};
}

std::vector<RowStatus> plan_status(const PlanRequest& request) {
  std::vector<RowStatus> statuses;
  for (const auto& row : unroll_plan(request)) statuses.push_back(status_of(row));
  return statuses;
}

PlanOutcome run_plan(const PlanRequest& request) { return PlanLoop(request).run(); }

}  // namespace ekd

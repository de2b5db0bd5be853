#include "ekd/study/plan_runner.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <set>
#include <thread>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/signals.h"
#include "ekd/core/strict_json.h"
#include "ekd/core/text.h"
#include "ekd/evaluate/evaluation.h"
#include "ekd/runs/run_dir.h"
#include "ekd/train/training_run.h"
#include "study/plan_rows.h"

namespace ekd {
namespace {

constexpr std::chrono::milliseconds kPoll{500};

std::filesystem::path predictions_of(const PlanRequest& request, const PlanRow& row, const PlanMember& member,
                                     bool validation) {
  const RunFiles files(plan_folder(request.out, member.run, row.seed));
  if (member.averaged) return validation ? files.ema_val_predictions() : files.ema_predictions();
  return validation ? files.val_predictions() : files.predictions();
}

// The weighted ensemble of the members' saved predictions of a split.
EvaluationResult evaluate_members(const PlanRequest& request, const PlanRow& row, bool validation,
                                  const std::filesystem::path& save) {
  EvaluationRequest evaluation;
  evaluation.inference.device = "cpu";
  evaluation.save_predictions = save.string();
  for (const auto& member : row.evaluation->members)
    evaluation.members.push_back({predictions_of(request, row, member, validation).string(), member.weight, true});
  return run_evaluation(evaluation);
}

void make_evaluation(const PlanRequest& request, const PlanRow& row) {
  const RunDir dir(row.folder);
  if (state_of_files(row) == RowState::kDone) return;
  const bool validated = std::ranges::all_of(row.evaluation->members, [&](const PlanMember& member) {
    return path_exists(predictions_of(request, row, member, /*validation=*/true));
  });
  if (validated) evaluate_members(request, row, /*validation=*/true, dir.val_predictions());
  const auto [metrics, temperature, members] = evaluate_members(request, row, /*validation=*/false, dir.predictions());
  const nlohmann::ordered_json result = {
      {"command", "evaluate"}, {"seed", row.seed}, {"members", members_json(members)}, {"last", to_json(metrics)}};
  write_file_atomically(dir.result(), json_text(result, 2) + "\n");
  spdlog::info("{}: accuracy {:.2f} %, ece {:.4f} (15 bins)", row.folder.string(), 100 * metrics.at("accuracy"),
               metrics.at("ece", 15));
}

// One pass over the rows after another until nothing is left that can be done.
class PlanLoop {
 public:
  explicit PlanLoop(const PlanRequest& request) : request_(request), rows_(unroll_plan(request)) {}

  PlanOutcome run() {
    clear_the_way();
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
  // Rows that cannot go on are an error before anything is written, or are put aside.
  void clear_the_way() const {
    const auto conflicts = conflicts_of(rows_);
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < rows_.size(); ++i)
      if (!conflicts[i].empty()) texts.push_back(rows_[i].folder.filename().string() + ": " + conflicts[i]);
    if (texts.empty()) return;
    if (!request_.anew)
      throw UsageError(request_.out.string() + ": these rows are not what the plan says now: " + join(texts, "; ") +
                       "; nothing was changed. --anew keeps them as NAME-sN.old-K and makes new ones beside, another "
                       "--out makes all rows anew");
    std::vector<RunDir> held;  // all of them, before the first is moved
    for (std::size_t i = 0; i < rows_.size(); ++i)
      if (!conflicts[i].empty()) held.emplace_back(rows_[i].folder);
    for (const RunDir& dir : held) put_aside(dir.folder());
  }

  static void put_aside(const std::filesystem::path& folder) {
    for (int k = 1;; ++k) {
      const std::filesystem::path old = folder.string() + ".old-" + std::to_string(k);
      if (path_exists(old)) continue;
      std::error_code error;
      std::filesystem::rename(folder, old, error);
      if (error) throw IoError(folder.string() + ": cannot rename to " + old.string() + ": " + error.message());
      spdlog::info("{}: kept as {}", folder.string(), old.string());
      return;
    }
  }

  // Whether the row still is to be made, and by us.
  bool open(std::size_t i) const {
    const RowState state = state_of(rows_[i]);
    return !failed_.contains(i) && state != RowState::kDone && state != RowState::kRunning;
  }

  bool needs_done(std::size_t i) const {
    return std::ranges::all_of(rows_[i].needs,
                               [&](std::size_t need) { return state_of(rows_[need]) == RowState::kDone; });
  }

  // Whether something was done. `waits` becomes true where a row waits for another process.
  bool try_row(std::size_t i, bool& waits) {
    if (!open(i)) return false;
    for (const std::size_t need : rows_[i].needs) {
      if (!failed_.contains(need)) continue;
      failed_.insert(i);
      spdlog::warn("{}: left out, it needs {}", rows_[i].folder.string(), rows_[need].folder.string());
      return true;
    }
    if (!needs_done(i)) {
      for (const std::size_t need : rows_[i].needs) waits = waits || state_of(rows_[need]) == RowState::kRunning;
      return false;
    }
    if (rows_[i].run != nullptr) {
      train(group_of(i));
    } else {
      evaluate(i);
    }
    return true;
  }

  // The row and those that are trained together with it.
  std::vector<std::size_t> group_of(std::size_t i) const {
    if (alone_.contains(i)) return {i};
    std::vector<std::size_t> others;
    for (std::size_t other = 0; other < rows_.size(); ++other)
      if (!alone_.contains(other) && open(other) && needs_done(other)) others.push_back(other);
    return training_group(rows_, i, others, static_cast<std::size_t>(request_.group_size));
  }

  void train(const std::vector<std::size_t>& group) {
    std::vector<TrainingRequest> requests;
    for (const std::size_t i : group) {
      const PlanRow& row = rows_[i];
      spdlog::info("{}", row.folder.string());
      requests.push_back({.command = row.run->command,
                          .config = row.config,
                          .run_dir = row.folder,
                          .resume = true,
                          .progress = request_.progress,
                          .command_line = request_.command_line,
                          .overrides = request_.overrides,
                          .goes_on = "the same command"});
    }
    if (group.size() > 1) spdlog::info("these {} are trained together, on one stream of batches", group.size());
    const auto on_failure = [&](std::size_t run, const Failure& failure) {
      row_failed(group[run], failure, /*shared=*/group.size() > 1);
    };
    for (const auto& outcome : run_trainings(requests, on_failure)) {
      if (outcome.stopped != 0) outcome_.stopped = outcome.stopped;
      if (!outcome.result.empty()) ++outcome_.made;
    }
    if (internal_failure_) internal_failure_->raise();
  }

  void evaluate(std::size_t i) {
    try {
      make_evaluation(request_, rows_[i]);
      ++outcome_.made;
    } catch (const Error& error) {
      row_failed(i, {error.code(), error.what()}, /*shared=*/false);
    }
  }

  // `shared`: it was trained together with others.
  void row_failed(std::size_t i, const Failure& failure, bool shared) {
    if (failure.code == ExitCode::kLocked) return;  // another process was quicker; its row is running now
    if (failure.code == ExitCode::kInternal) {
      internal_failure_ = failure;
      return;
    }
    if (failure.code == ExitCode::kMemory && shared) {
      spdlog::warn("{}: {}; it is trained alone later", rows_[i].folder.string(), failure.message);
      alone_.insert(i);
      return;
    }
    if (last_error_ != failure.message) spdlog::error("{}", failure.message);  // one line for what ends all of a group
    last_error_ = failure.message;
    failed_.insert(i);
    if (outcome_.exit_code == 0) outcome_.exit_code = static_cast<int>(failure.code);
  }

  const PlanRequest& request_;
  std::vector<PlanRow> rows_;
  std::set<std::size_t> failed_;  // in this call, or left out because of such a row
  std::set<std::size_t> alone_;   // found no room beside others
  std::string last_error_;
  std::optional<Failure> internal_failure_;  // ends the program, but not before the rest of its group is saved
  PlanOutcome outcome_;
};

}  // namespace

std::vector<Field> plan_fields(PlanSettings& settings) {
  return {{"plan.out", &settings.out, {}, "--out", "runs land in OUT/NAME-sSEED; empty: runs/ and the plan's name"},
          {"plan.only", &settings.only, {}, "--only", "these rows and what they need; repeat or separate by commas"},
          {"plan.seeds", &settings.seeds, between(0, 10'000), "--seeds",
           "seeds 0 to N-1 instead of the plan's; 0: the plan's"},
          {"plan.budget", &settings.budget, {}, "--budget", "stop after this time with everything saved: 90s, 25m, 2h"},
          {"plan.share", &settings.share, {}, "--share", "I/N: the I-th of N shares of the rows, for job arrays"},
          {"plan.group_size", &settings.group_size, between(1, 1000), "--group-size",
           "most students trained together, on the same batches; 1: one after another"},
          {"plan.anew",
           &settings.anew,
           {},
           "--anew",
           "keep rows that are not what the plan says now as NAME-sN.old-K, and make them again"}};
}

std::vector<RowStatus> plan_status(const PlanRequest& request) {
  const auto rows = unroll_plan(request);
  const auto conflicts = conflicts_of(rows);
  std::vector<RowStatus> statuses;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    statuses.push_back(status_of(rows[i]));
    if (conflicts[i].empty() || statuses.back().state == RowState::kRunning) continue;
    statuses.back().state = RowState::kStale;
    statuses.back().why = conflicts[i];
  }
  return statuses;
}

PlanOutcome run_plan(const PlanRequest& request) { return PlanLoop(request).run(); }

}  // namespace ekd

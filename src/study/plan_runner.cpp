#include "ekd/study/plan_runner.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <condition_variable>
#include <list>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "ekd/core/atomic_file.h"
#include "ekd/core/device.h"
#include "ekd/core/error.h"
#include "ekd/core/signals.h"
#include "ekd/core/strict_json.h"
#include "ekd/core/text.h"
#include "ekd/evaluate/evaluation.h"
#include "ekd/runs/run_dir.h"
#include "ekd/train/pace.h"
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

// How much more must be done by one more training at a time, and how many are tried.
constexpr double kWorthwhile = 1.05;
constexpr int kMostTried = 4;

// A row, or several that are trained together, being made.
struct Job {
  std::vector<std::size_t> rows;
  bool alone = false;  // nothing else beside it
  bool ended = false;
  std::thread thread;
};

// Starts what can be done until nothing is left. One thread looks after the rows; where several are made at a time,
// each is made on a thread of its own, and `mutex_` guards what these tell.
class PlanLoop {
 public:
  explicit PlanLoop(const PlanRequest& request) : request_(request), rows_(unroll_plan(request)) {
    measures_ = request.jobs == kMeasured;
    limit_ = std::max(1, request.jobs);
    threaded_ = measures_ || limit_ > 1;
  }

  PlanOutcome run() {
    clear_the_way();
    try {
      make_rows();
    } catch (...) {
      give_up();
      for (Job& job : jobs_)
        if (job.thread.joinable()) job.thread.join();
      throw;
    }
    if (internal_failure_) internal_failure_->raise();
    return outcome_;
  }

 private:
  void make_rows() {
    std::unique_lock lock(mutex_);
    while (true) {
      finish_ended_jobs();
      bool waits = false;
      if (!stops()) {
        if (auto job = next(waits)) {
          start(std::move(*job), lock);
          continue;
        }
      }
      if (jobs_.empty() && (stops() || !waits)) break;
      if (measures_ && !stops()) consider_another(lock);
      changed_.wait_for(lock, kPoll, [this] { return std::ranges::any_of(jobs_, &Job::ended); });
    }
  }

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

  bool stops() {
    if (outcome_.stopped == 0) outcome_.stopped = stop_request();
    return outcome_.stopped != 0 || internal_failure_;
  }

  bool under_way(std::size_t i) const {
    return std::ranges::any_of(jobs_, [i](const Job& job) { return std::ranges::count(job.rows, i) > 0; });
  }

  // Whether the row still is to be made, and by us.
  bool open(std::size_t i) const {
    if (failed_.contains(i) || under_way(i)) return false;
    const RowState state = state_of(rows_[i]);
    return state != RowState::kDone && state != RowState::kRunning;
  }

  bool needs_done(std::size_t i) const {
    return std::ranges::all_of(
        rows_[i].needs, [&](std::size_t need) { return !under_way(need) && state_of(rows_[need]) == RowState::kDone; });
  }

  // Whether the row can be made beside those that are being made.
  bool fits_in(std::size_t i) const {
    if (jobs_.empty()) return true;
    const auto agrees = [&](const Job& job) { return same_process(rows_[i], rows_[job.rows.front()]); };
    return !alone_.contains(i) && std::ranges::all_of(jobs_, agrees);
  }

  // What to start now. Rows that need one that has failed are left out on the way. `waits` becomes true where a row
  // waits for another process.
  std::optional<Job> next(bool& waits) {
    const bool full = std::ranges::any_of(jobs_, &Job::alone) || static_cast<int>(jobs_.size()) >= limit_;
    for (std::size_t i = 0; i < rows_.size() && !full; ++i) {
      if (!open(i) || left_out(i)) continue;
      if (!needs_done(i)) {
        for (const std::size_t need : rows_[i].needs) waits = waits || state_of(rows_[need]) == RowState::kRunning;
      } else if (fits_in(i)) {
        return Job{rows_[i].run != nullptr ? group_of(i) : std::vector{i}, alone_.contains(i)};
      }
    }
    return std::nullopt;
  }

  // What a row needs stands before it, so that those that need a row that is left out are left out in the same pass.
  bool left_out(std::size_t i) {
    for (const std::size_t need : rows_[i].needs) {
      if (!failed_.contains(need)) continue;
      failed_.insert(i);
      spdlog::warn("{}: left out, it needs {}", rows_[i].folder.string(), rows_[need].folder.string());
      return true;
    }
    return false;
  }

  // The row and those that are trained together with it.
  std::vector<std::size_t> group_of(std::size_t i) const {
    if (alone_.contains(i)) return {i};
    std::vector<std::size_t> others;
    for (std::size_t other = 0; other < rows_.size(); ++other)
      if (!alone_.contains(other) && open(other) && needs_done(other)) others.push_back(other);
    return training_group(rows_, i, others, static_cast<std::size_t>(request_.group_size));
  }

  void start(Job&& started, std::unique_lock<std::mutex>& lock) {
    Job& job = jobs_.emplace_back(std::move(started));
    const auto make = [this, &job] {
      if (rows_[job.rows.front()].run != nullptr) {
        train(job.rows);
      } else {
        evaluate(job.rows.front());
      }
    };
    if (threaded_) {
      job.thread = std::thread([this, &job, make] {
        share_cores(std::max(1, request_.jobs));
        std::optional<Failure> failure;
        try {
          make();
        } catch (const std::exception& error) {
          failure = failure_of(error, {});
        }
        const std::lock_guard guard(mutex_);
        if (failure) end_by(*failure);
        job.ended = true;
        changed_.notify_one();
      });
      return;
    }
    lock.unlock();
    make();
    lock.lock();
    job.ended = true;
  }

  void finish_ended_jobs() {
    for (Job& job : jobs_)
      if (job.ended && job.thread.joinable()) job.thread.join();
    jobs_.remove_if([](const Job& job) { return job.ended; });
  }

  // One more at a time for as long as that gains; a training that does not waits until another one ends.
  void consider_another(std::unique_lock<std::mutex>& lock) {
    if (static_cast<int>(jobs_.size()) < limit_ || pace_.lanes() < limit_ || !pace_.warm()) return;
    if (limit_ == proven_) {
      measures_ = limit_ < kMostTried;
      if (measures_) ++limit_;
      return;
    }
    lock.unlock();  // for those that end meanwhile
    const auto gain = pace_.gain(request_.measured_for);
    lock.lock();
    if (!gain) return;
    const bool pays = *gain >= kWorthwhile;
    spdlog::info("{} trainings at a time do {:.2f} times the work of {}{}", limit_, *gain, limit_ - 1,
                 pays ? "" : ": the last one waits until another ends");
    if (pays) {
      proven_ = limit_;
    } else {
      pace_.hold_last();
      --limit_;
      measures_ = false;
    }
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
      if (!threaded_) continue;
      requests.back().pace = &pace_;
      if (request_.progress == ProgressStyle::kBar) requests.back().progress = ProgressStyle::kLines;  // of several
    }
    if (group.size() > 1) spdlog::info("these {} are trained together, on one stream of batches", group.size());
    const auto on_failure = [&](std::size_t run, const Failure& failure) {
      const std::lock_guard guard(mutex_);
      row_failed(group[run], failure, /*shared=*/group.size() > 1 || jobs_.size() > 1);
    };
    const auto outcomes = run_trainings(requests, on_failure);
    const std::lock_guard guard(mutex_);
    for (const auto& outcome : outcomes) {
      if (outcome.stopped != 0) outcome_.stopped = outcome.stopped;
      if (!outcome.result.empty()) ++outcome_.made;
    }
  }

  void evaluate(std::size_t i) {
    try {
      make_evaluation(request_, rows_[i]);
      const std::lock_guard guard(mutex_);
      ++outcome_.made;
    } catch (const Error& error) {
      const std::lock_guard guard(mutex_);
      row_failed(i, {error.code(), error.what()}, /*shared=*/false);
    }
  }

  // The program is to end, once what is under way is saved.
  void end_by(const Failure& failure) {
    internal_failure_ = failure;
    give_up();
  }

  // `shared`: it was trained together with others, or beside them.
  void row_failed(std::size_t i, const Failure& failure, bool shared) {
    if (failure.code == ExitCode::kLocked) return;  // another process was quicker; its row is running now
    if (failure.code == ExitCode::kInternal) {
      end_by(failure);
      return;
    }
    if (failure.code == ExitCode::kMemory && shared) {
      spdlog::warn("{}: {}; it is trained alone later", rows_[i].folder.string(), failure.message);
      alone_.insert(i);
      if (measures_) limit_ = std::max(1, limit_ - 1);
      measures_ = false;
      return;
    }
    if (last_error_ != failure.message) spdlog::error("{}", failure.message);  // one line for what ends all of a group
    last_error_ = failure.message;
    failed_.insert(i);
    if (outcome_.exit_code == 0) outcome_.exit_code = static_cast<int>(failure.code);
  }

  const PlanRequest& request_;
  std::vector<PlanRow> rows_;
  bool measures_ = false, threaded_ = false;  // whether the limit may grow; whether jobs are on threads
  int limit_ = 1, proven_ = 1;                // of jobs at a time, and how many of them are known to pay
  Pace pace_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Job> jobs_;           // being made
  std::set<std::size_t> failed_;  // in this call, or left out because of such a row
  std::set<std::size_t> alone_;   // found no room beside others
  std::string last_error_;
  std::optional<Failure> internal_failure_;  // ends the program, but not before the others are saved
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
          {"plan.jobs", &settings.jobs, one_of_or_between({"auto"}, 1, 64), "--jobs",
           "rows made at a time, each on a thread; auto: on a GPU as many as gain by it, measured, else 1"},
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

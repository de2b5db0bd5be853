// Works through a plan: what is pending in dependency order, what was cut off resumed, what has finished skipped.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ekd/core/field.h"
#include "ekd/runs/progress.h"
#include "ekd/study/plan.h"

namespace ekd {

// How a plan is worked through, as `ekd run` is told.
struct PlanSettings {
  std::string out;                // empty: runs/ and the plan's name
  std::vector<std::string> only;  // each may hold several names, with commas between
  std::int64_t seeds = 0;         // 0: the plan's
  std::string budget, share;      // "25m", "2/8"
  std::int64_t group_size = 16;
  std::string jobs = "auto";
  bool anew = false;
};

std::vector<Field> plan_fields(PlanSettings& settings);

inline constexpr int kMeasured = 0;  // as many jobs as gain by it (train/pace.h)

struct PlanRequest {
  Plan plan;
  std::filesystem::path out;
  std::map<std::string, nlohmann::json> overrides;  // by key, over every run's own settings
  std::vector<std::string> only;                    // rows to make, with what they need; empty: all
  std::int64_t share = 0, shares = 1;            // makes every shares-th row, from the share-th on, and what these need
  std::int64_t group_size = 16;                  // most students that are trained together
  int jobs = 1;                                  // rows made at a time, each on a thread, or kMeasured
  std::chrono::milliseconds measured_for{2000};  // each rate, where that is measured
  ProgressStyle progress = ProgressStyle::kNone;
  std::vector<std::string> command_line;
  bool anew = false;     // rows that are not what the plan says any more are put aside and made again
  bool as_made = false;  // settings that a row was made with stand where none are given
};

enum class RowState {
  kPending,
  kStopped,  // begun, and no process works on it
  kRunning,
  kDone,
  kFailed,
  kStale,  // not what the plan says, or learned from a teacher that is another by now
};
std::string row_state_name(RowState state);  // "pending", …

// A run or an evaluation of one seed.
struct RowStatus {
  std::string name;
  std::int64_t seed = 0;
  RowState state = RowState::kPending;
  std::string why;                     // of a stale row: in what it is not what the plan says
  std::int64_t epoch = 0, epochs = 0;  // done and in all; 0 of 0 for evaluations
  double seconds_left = 0;             // by the rate so far; NaN where there is none yet
};

// Where every selected row stands, by what lies in `out`; starts nothing. Throws UsageError for
// settings that do not fit.
std::vector<RowStatus> plan_status(const PlanRequest& request);

struct PlanOutcome {
  int stopped = 0;    // the stop_request() that was obeyed, or 0
  int made = 0;       // rows that this call finished
  int exit_code = 0;  // of the first row that failed
};

// Makes what is pending, one row or group of rows (study/plan_rows.h) or several at a time; a row that another process
// holds is left to it, and waited for only where a row of ours needs it. A row that fails stops those that need it and
// no other. Throws UsageError for settings that do not fit and for stale rows, unless they are to be made anew, before
// anything is written.
PlanOutcome run_plan(const PlanRequest& request);

}  // namespace ekd

#include "study/row_state.h"

#include <algorithm>
#include <limits>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/sha256.h"
#include "ekd/core/strict_json.h"
#include "ekd/runs/metric_log.h"
#include "ekd/runs/run_dir.h"
#include "ekd/runs/run_record.h"
#include "ekd/train/finished_run.h"

namespace ekd {
namespace {

// The checksum of a run's result.json; empty where there is none. A small file: its folder is asked often.
std::string result_sum(const std::filesystem::path& run) {
  const auto path = RunFiles(run).result();
  return path_exists(path) ? sha256_hex(read_file(path)) : "";
}

// Whether a member of the evaluation has another result than when it was evaluated. Those that do not say are taken as
// they are.
bool members_moved_on(const PlanRow& row) {
  return std::ranges::any_of(stored_members(row.folder), [&](const StoredMember& member) {
    const std::string now = result_sum(row.folder.parent_path() / member.run);
    return !member.result_sha256.empty() && !now.empty() && member.result_sha256 != now;
  });
}

}  // namespace

std::vector<StoredMember> stored_members(const std::filesystem::path& evaluation) {
  const auto path = RunFiles(evaluation).result();
  const auto result = read_own_json(path);
  std::vector<StoredMember> members;
  try {
    for (const auto& member : result.value("members", nlohmann::json::array()))
      members.push_back({std::filesystem::path(member.at("path").get<std::string>()).parent_path().filename(),
                         member.value("weight", 1.0), member.value("result_sha256", "")});
  } catch (const nlohmann::json::exception&) {
    throw WeightsError(path.string() + ": is damaged: its members are no list of paths and weights");
  }
  return members;
}

nlohmann::ordered_json members_json(const std::vector<EvaluationMember>& members) {
  auto list = to_json(members);
  for (auto& member : list)
    member["result_sha256"] = result_sum(std::filesystem::path(member["path"].get<std::string>()).parent_path());
  return list;
}

bool wants_more_epochs(const PlanRow& row) {
  if (row.run == nullptr || run_state(row.folder) != RunState::kFinished) return false;
  const std::int64_t epochs = finished_epochs(row.folder);
  return epochs > 0 && row.config.optim.epochs > epochs;
}

RowState state_of(const PlanRow& row) { return run_is_held(row.folder) ? RowState::kRunning : state_of_files(row); }

RowState state_of_files(const PlanRow& row) {
  const RunState files = run_state(row.folder);
  if (files == RunState::kAbsent) return RowState::kPending;
  if (files == RunState::kFinished) {
    const bool grows = row.run != nullptr ? wants_more_epochs(row) : members_moved_on(row);
    return grows ? RowState::kPending : RowState::kDone;
  }
  const bool failed = value_or(read_run_record(RunFiles(row.folder).record()), "status", std::string()) == "failed";
  return failed ? RowState::kFailed : RowState::kStopped;
}

RowStatus status_of(const PlanRow& row) {
  RowStatus status{.name = row.name, .seed = row.seed, .state = state_of(row)};
  if (row.run == nullptr) return status;
  status.epochs = row.config.optim.epochs;
  double seconds = 0;
  for (const auto& line : read_metrics(RunFiles(row.folder).metrics())) {
    status.epoch = std::max(status.epoch, line["epoch"].get<std::int64_t>() + 1);
    seconds += value_or(line, "seconds", 0.0);
  }
  const double left = static_cast<double>(status.epochs - status.epoch);
  status.seconds_left =
      status.epoch > 0 ? seconds / static_cast<double>(status.epoch) * left : std::numeric_limits<double>::quiet_NaN();
  if (status.state == RowState::kDone) status.seconds_left = 0;
  return status;
}

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
    case RowState::kStopped:
      return "stopped";
    case RowState::kStale:
      return "stale";
  }
  return {};
}

}  // namespace ekd

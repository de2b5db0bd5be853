#include "study/row_state.h"

#include <algorithm>
#include <limits>

#include "ekd/runs/metric_log.h"
#include "ekd/runs/run_dir.h"
#include "ekd/runs/run_record.h"
#include "ekd/settings/stored_settings.h"

namespace ekd {
namespace {

bool wants_more_epochs(const PlanRow& row) {
  return row.run != nullptr && row.config.optim.epochs > stored_settings(row.folder, row.run->command).optim.epochs;
}

}  // namespace

RowState state_of(const PlanRow& row) {
  if (run_is_held(row.folder)) return RowState::kRunning;
  if (run_state(row.folder) == RunState::kFinished)
    return wants_more_epochs(row) ? RowState::kPending : RowState::kDone;
  const bool failed = read_run_record(RunFiles(row.folder).record()).value("status", "") == "failed";
  return failed ? RowState::kFailed : RowState::kPending;
}

RowStatus status_of(const PlanRow& row) {
  RowStatus status{.name = row.name, .seed = row.seed, .state = state_of(row)};
  if (row.run == nullptr) return status;
  status.epochs = row.config.optim.epochs;
  double seconds = 0;
  for (const auto& line : read_metrics(RunFiles(row.folder).metrics())) {
    status.epoch = std::max(status.epoch, line["epoch"].get<std::int64_t>() + 1);
    seconds += line.value("seconds", 0.0);
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
  }
  return {};
}

}  // namespace ekd

// The rows of a plan: a run or an evaluation of one seed. What they are and need, where each stands, what stands in its
// way, and which are trained together.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ekd/evaluate/evaluation.h"
#include "ekd/settings/config.h"
#include "ekd/study/plan_runner.h"

namespace ekd {

struct PlanRow {
  std::string name;
  std::int64_t seed = 0;
  std::filesystem::path folder;
  std::vector<std::size_t> needs;  // rows that have to be done before, by index
  const PlanRun* run = nullptr;    // one of these two
  const PlanEvaluation* evaluation = nullptr;
  Config config;  // of a run
};

// The selected rows, each after what it needs. Pointers lead into `request.plan`. Throws UsageError.
std::vector<PlanRow> unroll_plan(const PlanRequest& request);

// Whether the row has finished and the plan asks for more epochs.
bool wants_more_epochs(const PlanRow& row);

// Where the row stands by what lies in its folder, whether or not that still is what the plan says (conflicts_of).
RowState state_of(const PlanRow& row);
// The same where no other process holds the row.
RowState state_of_files(const PlanRow& row);
RowStatus status_of(const PlanRow& row);

// A member of an evaluation that is done.
struct StoredMember {
  std::string run;  // the folder's name
  double weight = 1;
  bool averaged = false;
  std::string result_sha256;  // of the run's result.json then; empty where that was not written down
};

// None where it has none. Throws WeightsError where its result.json is damaged.
std::vector<StoredMember> stored_members(const std::filesystem::path& evaluation);

// Of each member of an evaluation {"path", "weight", "result_sha256"}: what its result was made from.
nlohmann::ordered_json members_json(const std::vector<EvaluationMember>& members);

// What stands in the way of rows before any of them is made: what lies in their folders is not what the plan says, or
// was learned from a teacher that is another by now. For each row what is in the way, as "optim.lr (0.5, was 0.05)";
// empty for rows that can begin, go on or stay as they are. Writes nothing.
std::vector<std::string> conflicts_of(const std::vector<PlanRow>& rows);

// Whether two runs see the same batches in the same kind of process, and end together: data, augmentation, batch size,
// epochs and everything under `run` agree.
bool same_batches(const PlanRow& a, const PlanRow& b);

// Whether two rows can be made at the same time in one process: what is set for all of it agrees.
bool same_process(const PlanRow& a, const PlanRow& b);

// `first` and those of `others` (indices of runs that could start too) to train with it, in order, `limit` at most:
// distillations on the same batches, each of which has a teacher in common with another of them. Augmentation alone is
// too cheap for training beside others to gain; sharing a teacher's answers gains.
std::vector<std::size_t> training_group(const std::vector<PlanRow>& rows, std::size_t first,
                                        const std::vector<std::size_t>& others, std::size_t limit);

}  // namespace ekd

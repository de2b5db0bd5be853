// Where a row of a plan stands, by what lies in its folder.
#pragma once

#include "ekd/evaluate/evaluation.h"
#include "ekd/study/plan_runner.h"
#include "study/plan_rows.h"

namespace ekd {

// Whether the row has finished and the plan asks for more epochs.
bool wants_more_epochs(const PlanRow& row);

// Without regard to whether what lies there is still what the plan says (plan_check.h).
RowState state_of(const PlanRow& row);
// The same where no other process holds the row.
RowState state_of_files(const PlanRow& row);
RowStatus status_of(const PlanRow& row);

// A member of an evaluation that is done.
struct StoredMember {
  std::string run;  // the folder's name
  double weight = 1;
  std::string result_sha256;  // of the run's result.json then; empty where that was not written down
};

// None where it has none. Throws WeightsError where its result.json is damaged.
std::vector<StoredMember> stored_members(const std::filesystem::path& evaluation);

// Of each member of an evaluation {"path", "weight", "result_sha256"}: what its result was made from.
nlohmann::ordered_json members_json(const std::vector<EvaluationMember>& members);

}  // namespace ekd

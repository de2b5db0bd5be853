// Where a row of a plan stands, by what lies in its folder.
#pragma once

#include "ekd/study/plan_runner.h"
#include "study/plan_rows.h"

namespace ekd {

RowState state_of(const PlanRow& row);
RowStatus status_of(const PlanRow& row);

}  // namespace ekd

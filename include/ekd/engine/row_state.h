// Where a row of a plan stands, by what lies in its folder.
#pragma once

#include "ekd/engine/plan_rows.h"
#include "ekd/engine/plan_runner.h"

namespace ekd {

RowState state_of(const PlanRow& row);
RowStatus status_of(const PlanRow& row);

}  // namespace ekd

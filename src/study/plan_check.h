// What stands in the way of a plan's rows before any of them is made: what lies in their folders is not what the plan
// says, or was learned from a teacher that is another by now.
#pragma once

#include <string>
#include <vector>

#include "study/plan_rows.h"

namespace ekd {

// For each row what is in the way, as "optim.lr (0.5, was 0.05)"; empty for rows that can begin, go on or stay as they
// are. Writes nothing.
std::vector<std::string> conflicts_of(const std::vector<PlanRow>& rows);

}  // namespace ekd

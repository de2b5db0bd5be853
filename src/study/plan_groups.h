// Which rows of a plan are trained together: many students, one stream of batches.
#pragma once

#include <vector>

#include "study/plan_rows.h"

namespace ekd {

// Whether two runs see the same batches in the same kind of process, and end together: data, augmentation, batch size,
// epochs and everything under `run` agree.
bool same_batches(const PlanRow& a, const PlanRow& b);

// `first` and those of `others` (indices of runs that could start too) to train with it, in order, `limit` at most:
// distillations on the same batches, each of which has a teacher in common with another of them. Augmentation alone is
// too cheap for training beside others to gain; sharing a teacher's answers gains.
std::vector<std::size_t> training_group(const std::vector<PlanRow>& rows, std::size_t first,
                                        const std::vector<std::size_t>& others, std::size_t limit);

}  // namespace ekd

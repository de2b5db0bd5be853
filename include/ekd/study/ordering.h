// Whether the orderings that a plan claims hold in its finished runs.
//
// Both rows are compared on the same test images, seed by seed, over the seeds that both have: σ² = S² + s²/n. S is the
// standard deviation of the mean difference over test images, by the bootstrap with the same draws for both rows, so
// that what moves both alike cancels; s that of the n differences over seeds (one seed: not known, taken as 0).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ekd/study/ordering_table.h"

namespace ekd {

// In the plan's order. Orderings of rows without a finished seed in common are left out, with a warning. Throws
// UsageError where the plan claims nothing or nothing could be compared, WeightsError where a result or predictions are
// damaged.
std::vector<CheckedOrdering> check_orderings(const std::string& plan, const std::string& out);

}  // namespace ekd

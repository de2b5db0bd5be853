// Whether the orderings that a plan claims hold in its finished runs, or which of two rows of runs is better.
//
// Both rows are compared on the same test images, seed by seed, over the seeds that both have, with the spread of
// metrics/difference.h: the images are drawn alike for both rows, so that what moves both alike cancels.
//
// A binned calibration error is too large by what chance puts into its bins, which depends on the confidences: of two
// perfectly calibrated networks the surer one has the smaller ECE. So such a difference must stand with and without the
// difference of the floors. The true bias lies between: it is the floor where a network is calibrated, and vanishes
// where its error is much larger than the floor.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ekd/study/ordering_table.h"

namespace ekd {

// Whether the first row of some run folders is better than each of the others, in every metric rows can be ordered by.
// As below.
std::vector<CheckedOrdering> check_first_run(const std::vector<std::string>& runs);

// In the plan's order. Orderings of rows without a finished seed in common are left out, with a warning. Throws
// UsageError where the plan claims nothing or nothing could be compared, WeightsError where a result or predictions are
// damaged.
std::vector<CheckedOrdering> check_orderings(const std::string& plan, const std::string& out);

}  // namespace ekd

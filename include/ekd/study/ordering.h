// Whether the orderings that a plan claims hold in its finished runs, or which of two rows of runs is better.
//
// Both rows are compared on the same test images, seed by seed, over the seeds that both have, with the spread of
// metrics/statistics.h: the images are drawn alike for both rows, so that what moves both alike cancels.
//
// A binned calibration error is too large by what chance puts into its bins, which depends on the confidences: of two
// perfectly calibrated networks the surer one has the smaller ECE. So such a difference must stand with and without the
// difference of the floors. The true bias lies between: it is the floor where a network is calibrated, and vanishes
// where its error is much larger than the floor.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "ekd/runs/table_format.h"

namespace ekd {

enum class Verdict { kHolds, kOpen, kReversed, kUnknown };

// Two rows on the same test images.
struct CheckedOrdering {
  std::string better, than, metric;  // the claim
  std::size_t seeds = 0;             // that both rows have
  std::optional<double> difference;  // better's metric − than's, mean over those seeds
  std::optional<double> sigma;       // standard deviation of the difference; none without predictions of both
  std::optional<double> margin;      // the difference ± this is its 95 % interval; with σ
  std::optional<double> floor;       // the difference of their floors, for metrics that have one; with σ
  std::optional<double> published;   // the same difference of the published numbers

  // Holds, or is reversed: the difference is further than the margin from 0, on the claimed side or on the other, and
  // so is what the floors leave of it. Open: it is not, or a table would show it as 0. Unknown: without σ.
  Verdict verdict() const;
  // Open only since the floors explain the difference.
  bool explained_by_floors() const;
};

// The metrics that rows can be ordered by: those that say what is better and have a standard deviation over test
// images.
const std::vector<std::string>& ordered_metrics();

// {"orderings": [{"better", "than", "metric", "n", "difference", "sigma", "margin", "floor", "published",
// "verdict"}]} with verdict "holds", "open", "reversed" or "unknown"; numbers that are not known are null.
nlohmann::ordered_json orderings_json(const std::vector<CheckedOrdering>& orderings);

// For people difference ± margin and how many claims hold; CSV holds what the JSON does, in full precision.
std::string orderings_table(const std::vector<CheckedOrdering>& orderings, TableFormat format);

// Whether the first row of some run folders is better than each of the others, in every metric rows can be ordered by.
// As below.
std::vector<CheckedOrdering> check_first_run(const std::vector<std::string>& runs);

// In the plan's order. Orderings of rows without a finished seed in common are left out, with a warning. Throws
// UsageError where the plan claims nothing or nothing could be compared, WeightsError where a result or predictions are
// damaged.
std::vector<CheckedOrdering> check_orderings(const std::string& plan, const std::string& out);

}  // namespace ekd

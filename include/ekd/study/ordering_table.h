// Whether claims of the kind "this row is better than that one" hold, as JSON or as a table.
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

}  // namespace ekd

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
  std::optional<double> published;   // the same difference of the published numbers

  // Holds, or is reversed: the difference is further than 2σ from 0, on the claimed side or on the other. Open: it is
  // not. Unknown: without σ.
  Verdict verdict() const;
};

// The metrics that rows can be ordered by: those that say what is better and have a standard deviation over test
// images.
const std::vector<std::string>& ordered_metrics();

// {"orderings": [{"better", "than", "metric", "n", "difference", "sigma", "published", "verdict"}]} with verdict
// "holds", "open", "reversed" or "unknown"; numbers that are not known are null.
nlohmann::ordered_json orderings_json(const std::vector<CheckedOrdering>& orderings);

// For people difference ± 2σ and how many claims hold; CSV holds what the JSON does, in full precision.
std::string orderings_table(const std::vector<CheckedOrdering>& orderings, TableFormat format);

}  // namespace ekd

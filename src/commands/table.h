// The table of numbers that follows a training or an evaluation.
#pragma once

#include <string>
#include <vector>

#include "ekd/metrics/metrics.h"

namespace ekd {

struct NamedMetrics {
  std::string name;
  Metrics metrics;
};

// Name, n, and the metrics that belong in brief, at each number of bins that the first row has.
std::string metrics_table(const std::vector<NamedMetrics>& rows);

}  // namespace ekd

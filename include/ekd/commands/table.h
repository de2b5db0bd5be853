// Plain tables for people.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ekd/core/metrics.h"

namespace ekd {

// Columns as wide as their widest cell, two spaces between; the first column is left-aligned, the others right-aligned.
std::string text_table(const std::vector<std::vector<std::string>>& rows);

struct MetricsRow {
  std::string name;
  nlohmann::json metrics;  // as to_json(Metrics) writes them
};

// Name, n, accuracy %, NLL, Brier, and ECE and OE at each number of bins.
std::string metrics_table(const std::vector<MetricsRow>& rows);

}  // namespace ekd

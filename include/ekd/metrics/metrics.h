// The metrics of one evaluation: typed inside the program, as JSON in `ekd evaluate --json` and result.json. Fractions,
// never percents.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace ekd {

// The numbers of bins that runs and reports use.
inline const std::vector<int> kReportedBins{15, 100};

struct MetricKey {
  std::string metric;  // a row of metric_registry()
  int bins = 0;        // 0 where the metric has none

  auto operator<=>(const MetricKey&) const = default;
};

// "accuracy", "ece15"
std::string column_name(const MetricKey& key);

struct Metrics {
  std::int64_t n = 0;
  std::map<MetricKey, double> values;

  // Throws std::out_of_range where it was not computed.
  double at(const std::string& metric, int bins = 0) const { return values.at({metric, bins}); }
  std::optional<double> find(const MetricKey& key) const;
};

// {"n", "accuracy", "top5", "nll", "brier", "mean_confidence", "aurc", "calibration": {"15": {"ece", …}, …}}
nlohmann::ordered_json to_json(const Metrics& metrics);

// Reads the metrics that are numbers. Others are left out: a file may lack them, or have null for a number that is not
// finite.
Metrics metrics_from_json(const nlohmann::json& json);

}  // namespace ekd

// The metrics of one evaluation, as `ekd evaluate --json` and result.json print them. Fractions, never percents.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>

namespace ekd {

// Calibration at one number of bins; definitions in metrics/calibration.h.
struct CalibrationMetrics {
  double ece = 0, oe = 0, mce = 0, adaptive_ece = 0, classwise_ece = 0;
};

struct Metrics {
  std::int64_t n = 0;
  double accuracy = 0, top5 = 0, nll = 0, brier = 0, mean_confidence = 0, aurc = 0;
  std::map<int, CalibrationMetrics> calibration;  // by number of bins
};

// {"n", "accuracy", "top5", "nll", "brier", "mean_confidence", "aurc", "calibration": {"15": {...}, ...}}
nlohmann::ordered_json to_json(const Metrics& metrics);

}  // namespace ekd

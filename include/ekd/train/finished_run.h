// A finished run as a report reads it: its metrics and what it said about the test images.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "ekd/core/types.h"
#include "ekd/metrics/metrics.h"

namespace ekd {

struct FinishedRun {
  std::filesystem::path folder;
  std::int64_t seed = 0;
  Metrics metrics;        // "last" of result.json: what is there
  nlohmann::json result;  // all that it says
};

// The epochs that a finished run was trained for; 0 where its result does not say. Throws WeightsError where it is
// damaged.
std::int64_t finished_epochs(const std::filesystem::path& folder);

// Throws WeightsError where result.json is damaged.
FinishedRun read_finished_run(const std::filesystem::path& folder);

// predictions.safetensors, unless it is missing or, after a warning, not of the result's weights. Throws WeightsError
// where it is damaged.
std::optional<Predictions> test_predictions(const FinishedRun& run);

// Whether all were asked about the same images in the same order; if not, a warning says which were not.
bool same_images(const std::vector<FinishedRun>& runs, const std::vector<Predictions>& predictions);

}  // namespace ekd

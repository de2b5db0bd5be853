#include "ekd/train/finished_run.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <spdlog/spdlog.h>

#include <cmath>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/strict_json.h"
#include "ekd/evaluate/predictions.h"
#include "ekd/runs/run_dir.h"

namespace ekd {

std::int64_t finished_epochs(const std::filesystem::path& folder) {
  const auto result = read_own_json(RunFiles(folder).result());
  const bool said = result.is_object() && result.contains("epochs") && result["epochs"].is_number_integer();
  return said ? result["epochs"].get<std::int64_t>() : 0;
}

FinishedRun read_finished_run(const std::filesystem::path& folder) {
  const auto path = RunFiles(folder).result();
  const auto result = read_own_json(path);
  if (!result.is_object() || !result.contains("last") || !result["last"].is_object())
    throw WeightsError(path.string() + ": is damaged: there is no \"last\"");
  const bool seeded = result.contains("seed") && result["seed"].is_number_integer();
  return {folder, seeded ? result["seed"].get<std::int64_t>() : 0, metrics_from_json(result["last"]), result};
}

std::optional<Predictions> test_predictions(const FinishedRun& run) {
  const auto path = RunFiles(run.folder).predictions();
  if (!path_exists(path)) return std::nullopt;
  Predictions predictions = load_predictions(path);
  const double hits = (predictions.logits.argmax(1) == predictions.labels).to(at::kDouble).mean().item<double>();
  const auto accuracy = run.metrics.find({"accuracy"});
  if (accuracy && std::abs(hits - *accuracy) < 1e-3) return predictions;
  spdlog::warn("{}: is not of the result's weights (accuracy {:.4f}): no intervals", path.string(), hits);
  return std::nullopt;
}

bool same_images(const std::vector<FinishedRun>& runs, const std::vector<Predictions>& predictions) {
  for (std::size_t i = 1; i < predictions.size(); ++i) {
    if (at::equal(predictions[i].labels, predictions[0].labels)) continue;
    spdlog::warn("{} and {} were tested on different images: no intervals", runs[0].folder.string(),
                 runs[i].folder.string());
    return false;
  }
  return true;
}

}  // namespace ekd

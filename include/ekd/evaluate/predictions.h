// A network's answers to a whole split: asking for them, without augmentation, and saving them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>

#include "ekd/core/device.h"
#include "ekd/core/step_graph.h"
#include "ekd/core/types.h"
#include "ekd/models/classifier.h"

namespace ekd {

struct PredictOptions {
  Normalisation normalisation;
  std::int64_t batch_size = 256;
  Precision precision = Precision::kFp32;
  bool graph = true;  // on CUDA: batches become graphs
};

// Asks a network about sets of images, also while it is in training: its weights are those it has when asked.
class Predictor {
 public:
  // `model` outlives the predictor and stays on its device. Once recorded, batches are replayed, also by later calls.
  Predictor(Classifier& model, const PredictOptions& options);

  // Puts the model into evaluation mode. `set` lies on the model's device; logits and labels come back on the CPU,
  // once: between batches the host does not wait for the device.
  Predictions predict(const ImageSet& set);

 private:
  Classifier& model_;
  PredictOptions options_;
  std::map<ReplayCache::Key, at::Tensor> answers_;  // where graphs leave them
  StepGraph graph_;
};

// For one set. Nothing is recorded where too few batches would be replayed to pay for it.
Predictions predict(Classifier& model, const ImageSet& set, PredictOptions options);

// Saved predictions: safetensors with `logits` F32 [N, C], or F64 where they come from such a file, and `labels` I64
// [N].

// The logits are float32, or double where the file's are. Throws WeightsError where the file is damaged, lacks a
// tensor, or holds impossible values.
Predictions load_predictions(const std::filesystem::path& path);

// `about` says where they come from. Throws IoError.
void save_predictions(const std::filesystem::path& path, const Predictions& predictions, const nlohmann::json& about);

}  // namespace ekd

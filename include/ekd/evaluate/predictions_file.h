// Saved predictions: safetensors with `logits` F32 [N, C], or F64 where they come from such a file, and `labels` I64
// [N].
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>

#include "ekd/core/types.h"

namespace ekd {

// The logits are float32, or double where the file's are. Throws WeightsError where the file is damaged, lacks a
// tensor, or holds impossible values.
Predictions load_predictions(const std::filesystem::path& path);

// `about` says where they come from. Throws IoError.
void save_predictions(const std::filesystem::path& path, const Predictions& predictions, const nlohmann::json& about);

}  // namespace ekd

// What is written down about a run's data.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>

#include "ekd/core/types.h"

namespace ekd {

// {"mean": […], "std": […]}, a number for each channel: the shortest decimals that are these floats.
nlohmann::ordered_json normalisation_json(const Normalisation& normalisation, std::int64_t channels);

// What such an object says; nothing where it is none: another kind, numbers that are no mean or deviation, not 1 to 3.
std::optional<Normalisation> normalisation_from(const nlohmann::json& json);

// {"name", "classes", "class_names", "image_shape": [C, H, W], "normalisation", "sha256"}
nlohmann::ordered_json dataset_json(const Dataset& data);

}  // namespace ekd

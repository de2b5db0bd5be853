// What `ekd predict` does: pictures in files to the classes that networks see in them.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "ekd/core/field.h"
#include "ekd/evaluate/members.h"

namespace ekd {

struct ImagePredictionRequest {
  std::vector<EvaluationMember> members;  // networks, no saved predictions
  std::vector<std::string> images;        // PNG or JPEG files
  std::string folder;                     // and all of those in this folder, by name; empty: none
  bool resize = false;                    // images of another size than the networks were trained on
  std::int64_t top = 5;
  TemperatureConfig temperature;
  InferenceConfig inference;
};

// The settings among the request's members. Pointers lead into `request`.
std::vector<Field> prediction_fields(ImagePredictionRequest& request);

struct RankedClass {
  std::int64_t label = 0;
  std::string name;       // empty where the runs do not say it
  double confidence = 0;  // after the temperature
};

struct ImagePrediction {
  std::string path;
  std::vector<RankedClass> classes;  // the surest first, `top` or all of them
};

struct ImagePredictionResult {
  std::vector<ImagePrediction> images;
  std::optional<AppliedTemperature> temperature;
  std::vector<EvaluationMember> members;
};

// Logits are those of run_evaluation for the same images in the same order and batches, to the bit. Throws UsageError,
// DataError, WeightsError, NonFiniteError, IoError, MemoryError.
ImagePredictionResult predict_images(const ImagePredictionRequest& request);

// {"images": [{"path", "classes": [{"label", "name": null or text, "confidence"}]}], "temperature", "members"}
nlohmann::ordered_json to_json(const ImagePredictionResult& result);

}  // namespace ekd

// A network's answers to a whole split, without augmentation.
#pragma once

#include <cstdint>

#include "ekd/core/device.h"
#include "ekd/core/types.h"
#include "ekd/models/classifier.h"

namespace ekd {

struct PredictOptions {
  Normalisation normalisation;
  std::int64_t batch_size = 256;
  Precision precision = Precision::kFp32;
};

// Puts the model into evaluation mode. `set` lies on the model's device; logits and labels come back on the CPU, once.
Predictions predict(Classifier& model, const ImageSet& set, const PredictOptions& options);

}  // namespace ekd

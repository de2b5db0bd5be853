// How images are augmented; the defaults are the papers'.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ekd/core/field.h"

namespace ekd {

struct AugmentConfig {
  std::string name = "none";
  std::int64_t crop_padding = 4;      // of zeros on each side, pixels at 32×32 (scaled_pixels)
  double flip = 0.5;                  // probability of a horizontal flip
  double rotation = 15;               // degrees; uniform in ±rotation
  double mixup_alpha = 0.3;           // Beta(α, α)
  double cutmix_alpha = 1;            // Beta(α, α)
  std::string cutmix_mode = "image";  // a box per image (the paper) or per batch (the official code)
  std::int64_t cutout_size = 16;      // side of the mask, pixels at 32×32
  std::int64_t augmix_width = 3;      // chains
  std::int64_t augmix_depth = 3;      // most operations in a chain
  double augmix_severity = 3;         // operation strength, in [.1, 10]
  double augmix_alpha = 1;            // Dirichlet(α, …) and Beta(α, α)
  double augmix_js_weight = 12;       // weight of the Jensen-Shannon term
};

std::vector<Field> augment_fields(AugmentConfig& augment);

}  // namespace ekd

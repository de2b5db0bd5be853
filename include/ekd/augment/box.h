// Boxes that CutMix pastes and Cutout blanks, clipped to the image.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ekd/augment/base_view.h"

namespace ekd {

// Columns [x1, x2), rows [y1, y2). A tensor of boxes is int32 [B, 4].
struct Box {
  std::int32_t x1 = 0, y1 = 0, x2 = 0, y2 = 0;
  std::int64_t area() const { return std::int64_t{x2 - x1} * (y2 - y1); }
};
constexpr std::int64_t kBoxWords = 4;

// Sides ⌊side √(1 - factor)⌋ of the image's own, with integer halves on both sides of the centre (Yun et al., 2019).
Box cutmix_box(double factor, std::int64_t centre_x, std::int64_t centre_y, ImageSize size);

// The image's own share of the target.
double cutmix_weight(const Box& box, ImageSize size);

// A square of `side` pixels from centre - ⌊side / 2⌋ on.
Box cutout_box(std::int64_t side, std::int64_t centre_x, std::int64_t centre_y, ImageSize size);

// bool [B, C, H, W] in channels_last layout, true inside the box; for images [·, C, H, W].
at::Tensor box_mask(const at::Tensor& boxes, const at::Tensor& images);

}  // namespace ekd

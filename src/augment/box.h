// Boxes that CutMix pastes and Cutout blanks, clipped to the image.
#pragma once

#include <cstdint>

#include "ekd/augment/base_view.h"
#include "ekd/kernels/box.h"

namespace ekd {

// Sides ⌊side √(1 - factor)⌋ of the image's own, with integer halves on both sides of the centre (Yun et al., 2019).
Box cutmix_box(double factor, std::int64_t centre_x, std::int64_t centre_y, ImageSize size);

// The image's own share of the target.
double cutmix_weight(const Box& box, ImageSize size);

// A square of `side` pixels from centre - ⌊side / 2⌋ on.
Box cutout_box(std::int64_t side, std::int64_t centre_x, std::int64_t centre_y, ImageSize size);

}  // namespace ekd

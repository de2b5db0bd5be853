// Cutout: a square of zeros in the normalised image. DeVries and Taylor, "Improved Regularization of Convolutional
// Neural Networks with Cutout", 2017.
#pragma once

#include "ekd/augment/augmentation.h"
#include "ekd/augment/base_view.h"

namespace ekd {

struct CutoutDraws {
  at::Tensor boxes;  // int32 [B, 4]: x1, y1, x2, y2 of the zeros
};

// For rows 0, …, count - 1 a square of `side` pixels about a uniform centre, clipped; on the CPU.
CutoutDraws draw_cutout(std::uint32_t seed, std::uint32_t epoch, std::int64_t count, ImageSize size, std::int64_t side);

std::unique_ptr<Augmentation> make_cutout(const AugmentationContext& context);

}  // namespace ekd

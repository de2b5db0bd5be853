// CutMix: a box of another image, targets by area. Yun et al., "CutMix: Regularization Strategy to Train Strong
// Classifiers with Localizable Features", ICCV 2019. Per image as the paper does it, or per batch as the official code.
#pragma once

#include "ekd/augment/augmentation.h"
#include "ekd/augment/base_view.h"

namespace ekd {

// Partners' pixels are pasted in the boxes; targets become weight · own + (1 - weight) · partner's; labels stay. One
// row each image, or one row for all.
struct CutmixDraws {
  at::Tensor boxes;   // int32 [B or 1, 4]: x1, y1, x2, y2 of the pasted box
  at::Tensor weight;  // float32 [B or 1], in [0, 1]: the image's own share of the target
};

struct CutmixTable {
  CutmixDraws draws;
  at::Tensor partner;  // int64: rows of the data set (per image), or places in the batch (per batch)
};

// Per image, for rows 0, …, count - 1: factor ~ Beta(alpha, alpha), a uniform centre, a uniform partner; on the CPU.
CutmixTable draw_cutmix(std::uint32_t seed, std::uint32_t epoch, std::int64_t count, ImageSize size, double alpha);

// Per batch: one factor and box, partner a permutation of {0, …, batch - 1}; on the CPU.
CutmixTable draw_cutmix_batch(std::uint32_t seed, std::uint32_t epoch, std::int64_t batch_index, std::int64_t batch,
                              ImageSize size, double alpha);

std::unique_ptr<Augmentation> make_cutmix(const AugmentationContext& context);

}  // namespace ekd

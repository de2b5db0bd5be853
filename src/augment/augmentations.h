// The augmentations: what each draws, and what makes it.
#pragma once

#include "ekd/augment/augmentation.h"
#include "ekd/augment/base_view.h"
#include "ekd/kernels/augmix.h"

namespace ekd {

// Mixup: convex combinations of two images and of their targets. Zhang et al., "mixup: Beyond Empirical Risk
// Minimization", ICLR 2018.

// Images and targets become factor · own + (1 - factor) · partner's; labels stay.
struct MixupDraws {
  at::Tensor factor;   // float32, 0-dim, in [0, 1]: the image's own share
  at::Tensor partner;  // int64 [B], a permutation of {0, …, B - 1}
};

// One factor ~ Beta(alpha, alpha) for the whole batch; on the CPU.
MixupDraws draw_mixup(std::uint32_t seed, std::uint32_t epoch, std::int64_t batch_index, std::int64_t size,
                      double alpha);

std::unique_ptr<Augmentation> make_mixup(const AugmentationContext& context);

// CutMix: a box of another image, targets by area. Yun et al., "CutMix: Regularization Strategy to Train Strong
// Classifiers with Localizable Features", ICCV 2019. Per image as the paper does it, or per batch as the official code.

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

// Cutout: a square of zeros in the normalised image. DeVries and Taylor, "Improved Regularization of Convolutional
// Neural Networks with Cutout", 2017.

struct CutoutDraws {
  at::Tensor boxes;  // int32 [B, 4]: x1, y1, x2, y2 of the zeros
};

// For rows 0, …, count - 1 a square of `side` pixels about a uniform centre, clipped; on the CPU.
CutoutDraws draw_cutout(std::uint32_t seed, std::uint32_t epoch, std::int64_t count, ImageSize size, std::int64_t side);

std::unique_ptr<Augmentation> make_cutout(const AugmentationContext& context);

// AugMix: two mixtures of chains of image operations beside the clean view. Hendrycks et al., "AugMix: A Simple Data
// Processing Method to Improve Robustness and Uncertainty", ICLR 2020.

// For rows 0, …, count - 1, on the CPU: base views, and for both mixtures depth uniform in 1 … augmix_depth for each
// chain, operations uniform over the nine, a level ~ U(.1, severity) and a sign for each, weights over the chains ~
// Dirichlet(alpha), share of the mixture ~ Beta(alpha, alpha).
AugmixTables draw_augmix(std::uint32_t seed, std::uint32_t epoch, std::int64_t count, ImageSize size,
                         const AugmentConfig& config);

// What an operation does at a level in [.1, 10], as apply_augmix_op wants it; `negative` where its strength has a sign.
double augmix_amount(int operation, double level, bool negative, ImageSize size);

std::unique_ptr<Augmentation> make_augmix(const AugmentationContext& context);

}  // namespace ekd

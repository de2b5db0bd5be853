// AugMix: two mixtures of chains of image operations beside the clean view. Hendrycks et al., "AugMix: A Simple Data
// Processing Method to Improve Robustness and Uncertainty", ICLR 2020.
#pragma once

#include "ekd/augment/augmentation.h"
#include "ekd/augment/base_view.h"
#include "ekd/kernels/augmix.h"

namespace ekd {

// For rows 0, …, count - 1, on the CPU: base views, and for both mixtures depth uniform in 1 … augmix_depth for each
// chain, operations uniform over the nine, a level ~ U(.1, severity) and a sign for each, weights over the chains ~
// Dirichlet(alpha), share of the mixture ~ Beta(alpha, alpha).
AugmixTables draw_augmix(std::uint32_t seed, std::uint32_t epoch, std::int64_t count, ImageSize size,
                         const AugmentConfig& config);

// What an operation does at a level in [.1, 10], as apply_augmix_op wants it; `negative` where its strength has a sign.
double augmix_amount(int operation, double level, bool negative, ImageSize size);

std::unique_ptr<Augmentation> make_augmix(const AugmentationContext& context);

}  // namespace ekd

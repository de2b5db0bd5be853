// Mixup: convex combinations of two images and of their targets. Zhang et al., "mixup: Beyond Empirical Risk
// Minimization", ICLR 2018.
#pragma once

#include "ekd/augment/augmentation.h"

namespace ekd {

// Images and targets become factor · own + (1 - factor) · partner's; labels stay.
struct MixupDraws {
  at::Tensor factor;   // float32, 0-dim, in [0, 1]: the image's own share
  at::Tensor partner;  // int64 [B], a permutation of {0, …, B - 1}
};

// One factor ~ Beta(alpha, alpha) for the whole batch; on the CPU.
MixupDraws draw_mixup(std::uint32_t seed, std::uint32_t epoch, std::int64_t batch_index, std::int64_t size,
                      double alpha);

std::unique_ptr<Augmentation> make_mixup(const AugmentationContext& context);

}  // namespace ekd

// Losses without teachers: cross-entropy against soft targets, and AugMix's consistency term.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace ekd {

// -Σ_k targets_k · log softmax(logits)_k, mean over the batch. logits [B, classes] of any floating dtype, computed in
// float32; targets float32 [B, classes] with rows that sum to 1. Returns a 0-dim float32 tensor. With a `smoothing` in
// [0, 1) against (1 − smoothing) · targets + smoothing / classes: Szegedy et al., "Rethinking the Inception
// architecture for computer vision", CVPR 2016.
at::Tensor soft_cross_entropy(const at::Tensor& logits, const at::Tensor& targets, double smoothing = 0);

// Hendrycks et al., "AugMix", ICLR 2020, eq. (3): mean over the views of KL(p_v ‖ clamp(mean_v p_v, 1e-7, 1)), mean
// over the batch. logits [views * B, classes], the views of one image B apart; computed in float32. Returns a 0-dim
// float32 tensor.
at::Tensor jensen_shannon(const at::Tensor& logits, std::int64_t views);

}  // namespace ekd

// Cross-entropy against soft targets.
#pragma once

#include <ATen/core/Tensor.h>

namespace ekd {

// -Σ_k targets_k · log softmax(logits)_k, mean over the batch. logits [B, classes] of any floating dtype, computed in
// float32; targets float32 [B, classes] with rows that sum to 1. Returns a 0-dim float32 tensor.
at::Tensor soft_cross_entropy(const at::Tensor& logits, const at::Tensor& targets);

}  // namespace ekd

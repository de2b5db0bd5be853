// AugMix's consistency term. Hendrycks et al., "AugMix", ICLR 2020, eq. (3).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace ekd {

// Mean over the views of KL(p_v ‖ clamp(mean_v p_v, 1e-7, 1)), mean over the batch. logits [views * B, classes], the
// views of one image B apart; computed in float32. Returns a 0-dim float32 tensor.
at::Tensor jensen_shannon(const at::Tensor& logits, std::int64_t views);

}  // namespace ekd

// The KL divergence of softened probabilities, exact at every temperature.
#pragma once

#include <ATen/core/Tensor.h>

#include "ekd/kernels/row_losses.h"

namespace ekd {

// Logits over the temperature, less each row's mean: that changes no probability, and large logits that differ little
// would lose their difference. With `classes`, a bool mask, of these classes alone: the others' logits are so low that
// they have no probability, and all are equal in a row without any of these classes.
at::Tensor softened_logits(const at::Tensor& logits, double temperature, const at::Tensor& classes = {});

// scale / B · Σ weight · KL(softmax(target) ‖ softmax(student / temperature)), 0-dim, never negative. student [B,
// classes] or [targets, B, classes]; differentiable in it, and in nothing else.
at::Tensor kl_divergence(const at::Tensor& student, const Divergence& of);

}  // namespace ekd

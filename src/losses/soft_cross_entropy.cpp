#include "ekd/losses/soft_cross_entropy.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>

namespace ekd {

at::Tensor soft_cross_entropy(const at::Tensor& logits, const at::Tensor& targets) {
  TORCH_CHECK(logits.dim() == 2 && logits.sizes() == targets.sizes(), "soft_cross_entropy: logits ", logits.sizes(),
              " and targets ", targets.sizes(), " must be the same [B, classes]");
  const at::Tensor log_probs = at::log_softmax(logits.to(at::kFloat), 1);
  return (targets * log_probs).sum() * (-1.0 / static_cast<double>(logits.size(0)));
}

}  // namespace ekd

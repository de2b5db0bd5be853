#include "ekd/losses/classification.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>

#include "ekd/core/device.h"
#include "losses/given_gradient.h"

namespace ekd {

at::Tensor soft_cross_entropy(const at::Tensor& logits, const at::Tensor& targets, double smoothing) {
  TORCH_CHECK(logits.dim() == 2 && logits.sizes() == targets.sizes(), "soft_cross_entropy: logits ", logits.sizes(),
              " and targets ", targets.sizes(), " must be the same [B, classes]");
  const at::Tensor wide = logits.to(at::kFloat);
  if (fused_kernels() && row_losses_take(wide, targets))
    return with_gradient(wide, fused_cross_entropy(wide, targets, smoothing));
  const at::Tensor log_probs = at::log_softmax(wide, 1);
  const at::Tensor smoothed =
      smoothing > 0 ? targets * (1 - smoothing) + smoothing / static_cast<double>(targets.size(1)) : targets;
  return (smoothed * log_probs).sum() * (-1.0 / static_cast<double>(logits.size(0)));
}

at::Tensor jensen_shannon(const at::Tensor& logits, std::int64_t views) {
  TORCH_CHECK(logits.dim() == 2 && views >= 1 && logits.size(0) % views == 0, "jensen_shannon: logits ", logits.sizes(),
              " do not hold ", views, " views");
  const at::Tensor wide = logits.to(at::kFloat);
  if (fused_kernels() && row_losses_take(wide, wide)) return with_gradient(wide, fused_jensen_shannon(wide, views));
  const at::Tensor log_probs = at::log_softmax(wide, 1).view({views, logits.size(0) / views, logits.size(1)});
  const at::Tensor probs = log_probs.exp();
  const at::Tensor log_mean = probs.mean(0, /*keepdim=*/true).clamp(1e-7, 1).log();
  return (probs * (log_probs - log_mean)).sum() * (1.0 / static_cast<double>(logits.size(0)));
}

}  // namespace ekd

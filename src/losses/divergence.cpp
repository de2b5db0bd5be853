#include "losses/divergence.h"

#include <ATen/ExpandUtils.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "ekd/core/device.h"
#include "losses/exponentials.h"
#include "losses/given_gradient.h"

namespace ekd {
namespace {

constexpr double kLargestExponent = 60;  // e^60 times any number of classes is a float32

struct RowDivergence {
  at::Tensor values;    // KL(target ‖ student) of each row, last dimension 1
  at::Tensor gradient;  // by the student's logits
};

// With δ the student's logits less the target's, less their mean under the target's probabilities p:
// KL(p ‖ q) = log E_p[e^δ] = log(1 + E_p[e^δ − 1 − δ]), and q = p·e^(δ − KL). No term of that mean is negative, and
// none is a difference of nearly equal numbers, at no temperature.
RowDivergence row_divergence(const at::Tensor& target, const at::Tensor& student) {
  const at::Tensor log_p = at::log_softmax(target, -1), p = log_p.exp();
  at::Tensor delta = student - target;
  delta = delta - (p * delta).sum(-1, /*keepdim=*/true);
  // Where a δ is far from 0 the exponential is taken of log p + δ, less what would overflow.
  const at::Tensor log_ratio = log_p + delta;
  const at::Tensor excess = (log_ratio.amax(-1, /*keepdim=*/true) - kLargestExponent).relu_(),
                   share = excess.neg().exp_();
  const at::Tensor far = (log_ratio - excess).exp_() - p * share * (delta + 1);
  const at::Tensor terms = at::where(delta.abs() <= 1, p * share * exp_remainder(delta), far);
  const at::Tensor values = excess + (terms.sum(-1, /*keepdim=*/true) + excess.neg().expm1_()).log1p_();
  const at::Tensor rest = delta - values;
  return {values, at::where(rest.abs() <= 1, p * rest.expm1(), at::softmax(student, -1) - p)};
}

// Summed over rows and targets. LibTorch's derivatives would be differences of nearly equal numbers again.
RowLoss divergence_of_rows(const at::Tensor& student, const Divergence& of) {
  const at::NoGradGuard no_grad;
  RowDivergence found = row_divergence(of.target, softened_logits(student, of.temperature, of.classes));
  if (of.weights.defined()) {
    const at::Tensor weights = of.weights.unsqueeze(-1);
    found = {found.values * weights, found.gradient * weights};
  }
  const at::Tensor gradient = found.gradient.dim() > student.dim() ? found.gradient.sum(0) : found.gradient;
  const double over_batch = of.scale / static_cast<double>(student.size(-2));
  return {found.values.sum() * over_batch, gradient * (over_batch / of.temperature)};
}

// On a GPU. The gradient by the logits is the result's, softened like them.
struct SoftenFunction : torch::autograd::Function<SoftenFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& logits, double temperature,
                            const std::optional<at::Tensor>& of) {
    const at::Tensor classes = of.value_or(at::Tensor());
    context->saved_data["temperature"] = temperature;
    context->save_for_backward({classes});
    return fused_softened(logits, temperature, classes, kNoProbability);
  }

  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               const torch::autograd::tensor_list& gradients) {
    const double temperature = context->saved_data["temperature"].toDouble();
    return {fused_softened(gradients[0], temperature, context->get_saved_variables()[0], /*nothing=*/0), {}, {}};
  }
};

}  // namespace

at::Tensor softened_logits(const at::Tensor& logits, double temperature, const at::Tensor& classes) {
  if (fused_kernels() && row_losses_take(logits, logits) &&
      (!classes.defined() || at::infer_size(logits.sizes(), classes.sizes()) == logits.sizes()))
    return SoftenFunction::apply(logits, temperature, classes.defined() ? std::optional(classes) : std::nullopt);
  if (!classes.defined()) return (logits - logits.mean(-1, /*keepdim=*/true)) / temperature;
  const at::Tensor count = classes.sum(-1, /*keepdim=*/true).clamp_min(1);
  const at::Tensor mean = at::where(classes, logits, 0).sum(-1, /*keepdim=*/true) / count;
  return at::where(classes, (logits - mean) / temperature, kNoProbability);
}

at::Tensor kl_divergence(const at::Tensor& student, const Divergence& of) {
  const bool fused = fused_kernels() && row_losses_take(student, of.target);
  return with_gradient(student, fused ? fused_divergence(student, of) : divergence_of_rows(student, of));
}

}  // namespace ekd

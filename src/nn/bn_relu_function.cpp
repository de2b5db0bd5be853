#include "nn/bn_relu_function.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/batch_norm.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "ekd/core/device.h"

namespace ekd {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct BnReluFunction : torch::autograd::Function<BnReluFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const std::optional<at::Tensor>& residual,
                            const at::Tensor& weight, const at::Tensor& bias, const BnParameters& parameters,
                            const BnRunning& running) {
    const auto result = bn_relu_forward(x, residual.value_or(at::Tensor()), parameters, running);
    context->save_for_backward(
        {x, residual ? result.y : at::Tensor(), weight, bias, result.saved.mean, result.saved.invstd});
    context->saved_data["eps"] = parameters.eps;
    return result.y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &y = saved[1];
    const BnParameters parameters{saved[2], saved[3], context->saved_data["eps"].toDouble()};
    const auto gradients =
        bn_relu_backward(grads[0].contiguous(at::MemoryFormat::ChannelsLast), x, y, parameters, {saved[4], saved[5]});
    return {gradients.x, gradients.residual, gradients.weight, gradients.bias, at::Tensor(), at::Tensor()};
  }
};

at::Tensor plain(const at::Tensor& x, const at::Tensor& residual, const BnParameters& parameters,
                 const BnRunning& running, bool training) {
  at::Tensor y = at::batch_norm(x, parameters.weight, parameters.bias, running.mean, running.var, training,
                                running.momentum, parameters.eps, /*cudnn_enabled=*/true);
  // In place: batch norm's backward needs its input and ReLU's its output, so nobody misses what is overwritten.
  if (residual.defined()) y.add_(residual);
  return y.relu_();
}

}  // namespace

at::Tensor batch_norm_relu(const at::Tensor& x, const at::Tensor& residual, const BnParameters& parameters,
                           const BnRunning& running, bool training) {
  const bool takes = fused_kernels() && bn_relu_takes(x) &&
                     (!residual.defined() || (bn_relu_takes(residual) && residual.scalar_type() == x.scalar_type()));
  if (!takes) return plain(x, residual, parameters, running, training);
  if (training) {
    const auto added = residual.defined() ? std::optional(residual) : std::nullopt;  // an undefined tensor is refused
    return BnReluFunction::apply(x, added, parameters.weight, parameters.bias, parameters, running);
  }
  if (at::GradMode::is_enabled()) return plain(x, residual, parameters, running, training);
  return bn_relu_inference(x, residual, parameters, running);
}

}  // namespace ekd

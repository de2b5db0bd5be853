#include "nn/functions.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/zeros_like.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <string>
#include <vector>

#include "ekd/core/device.h"
#include "ekd/kernels/conv.h"

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

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

at::Tensor channels_last(const at::Tensor& grad) { return grad.contiguous(at::MemoryFormat::ChannelsLast); }

struct PointwiseFunction : torch::autograd::Function<PointwiseFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            std::int64_t groups) {
    context->save_for_backward({x, weight});
    context->saved_data["groups"] = groups;
    return pointwise_forward(x, weight, groups);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const auto gradients = pointwise_backward(channels_last(grads[0]), saved[0], saved[1],
                                              context->saved_data["groups"].toInt(), context->needs_input_grad(0));
    return {gradients.x, gradients.weight, at::Tensor()};
  }
};

struct WinogradFunction : torch::autograd::Function<WinogradFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const std::optional<at::Tensor>& residual) {
    context->save_for_backward({x, weight});
    context->saved_data["adds"] = residual.has_value();
    return winograd_forward(x, weight, residual.value_or(at::Tensor()));
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const auto gradients = winograd_backward(channels_last(grads[0]), saved[0], saved[1], context->needs_input_grad(0));
    return {gradients.x, gradients.weight, context->saved_data["adds"].toBool() ? grads[0] : at::Tensor()};
  }
};

struct DepthwiseFunction : torch::autograd::Function<DepthwiseFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            std::int64_t stride) {
    context->save_for_backward({x, weight});
    context->saved_data["stride"] = stride;
    return depthwise_forward(x, weight, stride);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const auto gradients =
        depthwise_backward(channels_last(grads[0]), saved[0], saved[1], context->saved_data["stride"].toInt());
    return {gradients.x, gradients.weight, at::Tensor()};
  }
};

// Whether autocast is to round x before anything computes with it.
bool is_to_be_rounded(const at::Tensor& x) {
  return x.scalar_type() == at::kFloat && at::autocast::is_autocast_enabled(x.device().type());
}

std::vector<std::int64_t> both(std::int64_t value) { return {value, value}; }

// oneDNN computes in bfloat16 on these CPUs only.
bool onednn_takes_bf16() {
  return cpu_has_avx512() && at::globalContext().userEnabledMkldnn() && at::globalContext().hasMKLDNN();
}

at::Tensor conv_relu_in_bf16(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride,
                             const ChannelScaleShift& after) {
  // LibTorch has no C++ function for it, only an operator.
  static const auto convolution = c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_convolution_pointwise", "");
  const at::Tensor scaled = (weight * after.scale.view({-1, 1, 1, 1})).to(at::kBFloat16);
  std::vector<c10::IValue> stack{x,
                                 scaled.contiguous(at::MemoryFormat::ChannelsLast),
                                 after.shift.to(at::kBFloat16),
                                 both(weight.size(2) / 2),
                                 both(stride),
                                 both(1),
                                 /*groups=*/std::int64_t{1},
                                 "relu",
                                 c10::List<std::optional<at::Scalar>>(),
                                 std::string()};
  convolution.callBoxed(&stack);
  return stack.front().toTensor();
}

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct IdleFunction : torch::autograd::Function<IdleFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& parameter) {
    context->save_for_backward({parameter});
    return x;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    return {grads[0], at::zeros_like(context->get_saved_variables()[0])};
  }
};

struct ShuffleFunction : torch::autograd::Function<ShuffleFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, std::int64_t groups) {
    context->saved_data["width"] = x.size(1) / groups;
    return shuffle_by_groups(x, groups);
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const at::Tensor grad = grads[0].contiguous(at::MemoryFormat::ChannelsLast);
    return {shuffle_by_groups(grad, context->saved_data["width"].toInt()), at::Tensor()};
  }
};

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

bool is_winograd(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t groups) {
  return fused_kernels() && stride == 1 && groups == 1 && !is_to_be_rounded(x) && winograd_takes(x, weight);
}

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t groups) {
  const std::int64_t kernel = weight.size(2);
  if (fused_kernels() && kernel == 1 && stride == 1 && !is_to_be_rounded(x) && pointwise_takes(x, weight, groups))
    return PointwiseFunction::apply(x, weight, groups);
  if (fused_kernels() && kernel == 3 && groups == x.size(1) && weight.size(0) == groups && depthwise_takes(x, stride))
    return DepthwiseFunction::apply(x, weight, stride);
  if (is_winograd(x, weight, stride, groups)) return WinogradFunction::apply(x, weight, std::optional<at::Tensor>());
  return at::conv2d(x, weight, /*bias=*/std::nullopt, stride, /*padding=*/at::IntArrayRef(kernel / 2),
                    /*dilation=*/1, groups);
}

at::Tensor convolution_plus(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t groups,
                            at::Tensor residual) {
  if (!is_winograd(x, weight, stride, groups)) return convolution(x, weight, stride, groups).add_(residual);
  const bool is_ours = residual.use_count() == 1 && residual.storage().use_count() == 1;
  if (at::GradMode::is_enabled() || !is_ours || !residual.is_contiguous(at::MemoryFormat::ChannelsLast))
    return WinogradFunction::apply(x, weight, std::optional(residual));
  winograd_add_to(residual, x, weight);
  return residual;
}

bool folds_convolution(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t groups) {
  if (at::GradMode::is_enabled() || !fused_kernels() || !x.is_cpu() || groups != 1) return false;
  return x.scalar_type() == at::kBFloat16 ? onednn_takes_bf16() : is_winograd(x, weight, stride, groups);
}

bool folds_input(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride, std::int64_t groups) {
  return x.scalar_type() == at::kFloat && folds_convolution(x, weight, stride, groups);
}

ChannelScaleShift folded_bn(const BnParameters& parameters, const BnRunning& running) {
  const at::Tensor scale = parameters.weight * running.var.add(parameters.eps).rsqrt();
  return {scale, parameters.bias - running.mean * scale};
}

at::Tensor conv_bn_relu_folded(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride,
                               const ChannelScaleShift& after, const ChannelScaleShift* before) {
  if (x.scalar_type() == at::kFloat) return winograd_relu(x, weight, after, before);
  TORCH_CHECK(before == nullptr, "a normalisation before a convolution in bfloat16 is not folded");
  return conv_relu_in_bf16(x, weight, stride, after);
}

at::Tensor with_idle(const at::Tensor& x, const at::Tensor& parameter) { return IdleFunction::apply(x, parameter); }

at::Tensor differentiable_shuffle(const at::Tensor& x, std::int64_t groups) {
  return ShuffleFunction::apply(x, groups);
}

}  // namespace ekd

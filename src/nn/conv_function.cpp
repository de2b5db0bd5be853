#include "nn/conv_function.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/conv2d.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>

#include "ekd/core/device.h"
#include "ekd/kernels/depthwise.h"
#include "ekd/kernels/pointwise.h"
#include "ekd/kernels/winograd.h"

namespace ekd {
namespace {

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

}  // namespace

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

}  // namespace ekd

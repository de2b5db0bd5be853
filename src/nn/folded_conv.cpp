#include "nn/folded_conv.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>

#include <optional>
#include <string>
#include <vector>

#include "ekd/core/device.h"
#include "nn/conv_function.h"

namespace ekd {
namespace {

std::vector<std::int64_t> both(std::int64_t value) { return {value, value}; }

// oneDNN's condition for bfloat16; it refuses on lesser CPUs.
bool onednn_takes_bf16() {
  static const bool has_avx512 = __builtin_cpu_supports("avx512bw") != 0 && __builtin_cpu_supports("avx512vl") != 0 &&
                                 __builtin_cpu_supports("avx512dq") != 0;
  return has_avx512 && at::globalContext().userEnabledMkldnn() && at::globalContext().hasMKLDNN();
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

}  // namespace

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

}  // namespace ekd

#include "ekd/models/folded_conv.h"

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/grad_mode.h>

#include <optional>
#include <string>
#include <vector>

#include "ekd/core/device.h"

namespace ekd {
namespace {

std::vector<std::int64_t> both(std::int64_t value) { return {value, value}; }

}  // namespace

bool folds_convolutions(const at::Tensor& x) {
  return fused_kernels() && !at::GradMode::is_enabled() && x.is_cpu() && x.scalar_type() == at::kBFloat16 &&
         at::globalContext().userEnabledMkldnn() && at::globalContext().hasMKLDNN();
}

at::Tensor conv_bn_relu_folded(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride,
                               const BnParameters& parameters, const BnRunning& running) {
  // LibTorch has no C++ function for it, only an operator.
  static const auto convolution = c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_convolution_pointwise", "");
  const at::Tensor scale = parameters.weight * running.var.add(parameters.eps).rsqrt();
  const at::Tensor bias = (parameters.bias - running.mean * scale).to(at::kBFloat16);
  const at::Tensor scaled = (weight * scale.view({-1, 1, 1, 1})).to(at::kBFloat16);
  std::vector<c10::IValue> stack{x,
                                 scaled.contiguous(at::MemoryFormat::ChannelsLast),
                                 bias,
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

}  // namespace ekd

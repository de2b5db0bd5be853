#include "ekd/nn/layers.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/avg_pool2d.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/max_pool2d.h>

#include <array>
#include <cmath>
#include <utility>

#include "ekd/core/device.h"
#include "ekd/kernels/conv.h"
#include "nn/functions.h"

namespace ekd {
namespace {

constexpr double kEps = 1e-5;
constexpr double kMomentum = 0.1;

at::Tensor conv_weight(const Scope& scope, const ConvShape& shape, ConvStart start) {
  TORCH_CHECK(shape.in % shape.groups == 0 && shape.out % shape.groups == 0 && shape.kernel % 2 == 1,
              "a convolution's groups divide its channels and its kernel is odd");
  const std::array<std::int64_t, 4> sizes{shape.out, shape.in / shape.groups, shape.kernel, shape.kernel};
  const auto area = static_cast<double>(shape.kernel * shape.kernel);
  if (start == ConvStart::kFanOutNormal) {
    return scope.normal_parameter("weight", sizes, std::sqrt(2 / (area * static_cast<double>(shape.out))));
  }
  return scope.uniform_parameter("weight", sizes, 1 / std::sqrt(area * static_cast<double>(sizes[1])));
}

}  // namespace

Conv2d::Conv2d(const Scope& scope, const ConvShape& shape, ConvStart start)
    : shape_(shape), weight_(conv_weight(scope, shape, start)) {
  if (shape.bias) bias_ = scope.constant_parameter("bias", shape.out, 0);
}

Activation Conv2d::operator()(const Activation& x) const {
  require_no_bias();
  return without_bias(x);
}

void Conv2d::require_no_bias() const {
  TORCH_CHECK(!bias_.defined(), "a convolution with a bias has batch norm behind it: then(), between()");
}

Activation Conv2d::without_bias(const Activation& x) const {
  const FusedPass::Shape shape{shape_.stride, shape_.groups};
  if (FusedPass::takes(x, weight_, shape)) return pass_of(x)->convolution(x, weight_, shape);
  return with_pass(convolution(x, weight_, shape_.stride, shape_.groups), pass_of(x));
}

Activation Conv2d::plus(Activation residual, const Activation& x) const {
  require_no_bias();
  const FusedPass::Shape shape{shape_.stride, shape_.groups};
  if (FusedPass::takes(x, weight_, shape)) return pass_of(x)->convolution(x, weight_, shape, residual);
  return with_pass(convolution_plus(x, weight_, shape_.stride, shape_.groups, std::move(residual).tensor()),
                   pass_of(x));
}

Activation Conv2d::then(const BatchNorm& bn, const Activation& x, bool training) const {
  if (!training && pass_of(x) == nullptr && folds_convolution(x, weight_, shape_.stride, shape_.groups))
    return conv_bn_relu_folded(x, weight_, shape_.stride, folded_bn(bn.parameters(), bn.running(bias_)));
  if (bias_.defined()) return bn.relu_of_biased(without_bias(x), bias_, training);
  return bn.relu((*this)(x), training);
}

Activation Conv2d::between(const BatchNorm& before, const BatchNorm& after, const Activation& x, bool training) const {
  if (training || pass_of(x) != nullptr || !folds_input(x, weight_, shape_.stride, shape_.groups))
    return then(after, before.relu(x, training), training);
  const ChannelScaleShift first = folded_bn(before.parameters(), before.running());
  return conv_bn_relu_folded(x, weight_, shape_.stride, folded_bn(after.parameters(), after.running(bias_)), &first);
}

BatchNorm::BatchNorm(const Scope& scope, std::int64_t channels)
    : parameters_{scope.constant_parameter("weight", channels, 1), scope.constant_parameter("bias", channels, 0), kEps},
      running_{scope.buffer("running_mean", channels, 0), scope.buffer("running_var", channels, 1), kMomentum} {
  scope.batch_counter("num_batches_tracked");
}

Activation BatchNorm::relu(const Activation& x, bool training, const at::Tensor& residual) const {
  return relu(x, training, residual, /*sole=*/false);
}

Activation BatchNorm::relu(Activation&& x, bool training, const at::Tensor& residual) const {
  return relu(x, training, residual, /*sole=*/true);
}

Activation BatchNorm::relu(const Activation& x, bool training, const at::Tensor& residual, bool sole) const {
  const auto& pass = pass_of(x);
  if (pass == nullptr) return batch_norm_relu(x, residual, parameters_, running_, training);
  if (!residual.defined()) return pass->norm_relu(x, parameters_, running_, sole);
  return with_pass(pass->norm_add_relu(x, residual, parameters_, running_, sole), pass);
}

Activation BatchNorm::relu_of_biased(const Activation& x, const at::Tensor& bias, bool training) const {
  if (!training) return with_pass(batch_norm_relu(x, {}, parameters_, running(bias), training), pass_of(x));
  at::Tensor y = batch_norm_relu(with_idle(x, bias), {}, parameters_, running_, training);
  // Autograd has noted the running mean's version, although no backward by batch statistics reads it.
  running_.mean.variable_data().add_(bias.detach(), running_.momentum);
  return with_pass(std::move(y), pass_of(x));
}

BnRunning BatchNorm::running(const at::Tensor& bias) const {
  return bias.defined() ? BnRunning{running_.mean - bias, running_.var, running_.momentum} : running_;
}

Activation BatchNorm::operator()(const Activation& x, bool training) const {
  return with_pass(at::batch_norm(x, parameters_.weight, parameters_.bias, running_.mean, running_.var, training,
                                  running_.momentum, parameters_.eps, /*cudnn_enabled=*/true),
                   pass_of(x));
}

Linear::Linear(const Scope& scope, std::int64_t in, std::int64_t out, LinearStart start) {
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  weight_ = start == LinearStart::kNormal ? scope.normal_parameter("weight", {out, in}, 0.01)
                                          : scope.uniform_parameter("weight", {out, in}, bound);
  bias_ = start == LinearStart::kUniform ? scope.uniform_parameter("bias", out, bound)
                                         : scope.constant_parameter("bias", out, 0);
}

at::Tensor Linear::operator()(const at::Tensor& x) const { return at::linear(x, weight_, bias_); }

Activation plus(const Activation& a, const Activation& b) { return with_pass(a.tensor() + b.tensor(), pass_of(a)); }

Activation max_pool(const Activation& x) {
  return with_pass(at::max_pool2d(x, /*kernel_size=*/2, /*stride=*/2), pass_of(x));
}

Activation shuffle_channels(const Activation& activation, std::int64_t groups) {
  if (groups == 1) return activation;
  if (const auto& pass = pass_of(activation); pass != nullptr && FusedPass::takes_shuffle(activation))
    return pass->shuffled(activation, groups);
  const at::Tensor x = activation;
  TORCH_CHECK(x.dim() == 4 && groups >= 1 && x.size(1) % groups == 0, "shuffle_channels: ", groups,
              " groups do not divide ", x.sizes());
  if (fused_kernels() && shuffle_by_groups_takes(x)) return differentiable_shuffle(x, groups);
  const auto batch = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  // Through [N, H, W, C], where channels_last channels are the innermost axis: the usual spelling on [N, C, H, W] gives
  // an NCHW tensor back, and every layer after it then runs in the slow layout.
  return with_pass(x.permute({0, 2, 3, 1})
                       .reshape({batch, height, width, groups, channels / groups})
                       .transpose(3, 4)
                       .reshape({batch, height, width, channels})
                       .permute({0, 3, 1, 2}),
                   pass_of(activation));
}

Activation append_pooled(const Activation& x, const at::Tensor& shortcut) {
  if (const auto& pass = pass_of(x); pass != nullptr && FusedPass::takes_pooling(x, shortcut))
    return pass->append_pooled(x, shortcut);
  // In channels_last LibTorch 2.11 computes the gradient wrongly on CUDA.
  const at::Tensor read = shortcut.is_cuda() ? shortcut.contiguous() : shortcut;
  at::Tensor pooled = at::avg_pool2d(read, /*kernel_size=*/3, /*stride=*/2, /*padding=*/1);
  if (shortcut.is_cuda()) pooled = pooled.contiguous(at::MemoryFormat::ChannelsLast);
  return with_pass(at::cat({x, pooled}, 1), pass_of(x));
}

}  // namespace ekd

#include "ekd/train/sgd.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "ekd/core/device.h"
#include "ekd/kernels/fused.h"

namespace ekd {
namespace {

// The fused call walks raw memory and checks neither shapes nor strides. Strides of axes of one element say nothing.
bool same_layout(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return false;
  for (std::int64_t axis = 0; axis < a.dim(); ++axis)
    if (a.size(axis) > 1 && a.stride(axis) != b.stride(axis)) return false;
  return true;
}

// The part of `buffer` where `parameter` lies in its own.
at::Tensor like(const at::Tensor& buffer, const at::Tensor& parameter) {
  return buffer.as_strided(parameter.sizes(), parameter.strides(), parameter.storage_offset());
}

// One tensor over the whole memory that these tensors lie in, where that is one buffer of float32; else undefined.
at::Tensor buffer_of(const std::vector<at::Tensor>& tensors) {
  const at::Tensor& first = tensors.at(0);
  for (const auto& tensor : tensors)
    if (tensor.scalar_type() != at::kFloat || !tensor.is_alias_of(first)) return {};
  const auto count = static_cast<std::int64_t>(first.storage().nbytes() / sizeof(float));
  return first.detach().as_strided({count}, {1}, 0);
}

}  // namespace

Sgd::Sgd(const std::vector<NamedTensor>& parameters, const OptimConfig& config, RateIn rate_in)
    : momentum_(config.momentum), weight_decay_(config.weight_decay), nesterov_(config.nesterov) {
  for (const auto& [name, parameter] : parameters) {
    names_.push_back(name);
    parameters_.push_back(parameter);
  }
  if (rate_in == RateIn::kTensor && fused_kernels() && has_fused_kernels(parameters_.at(0).device()))
    buffer_ = buffer_of(parameters_);
  if (momentum_ != 0 && buffer_.defined()) momentum_buffer_ = at::zeros_like(buffer_);
  for (const auto& parameter : parameters_) {
    if (momentum_ == 0) break;
    momenta_.push_back(buffer_.defined() ? like(momentum_buffer_, parameter) : at::zeros_like(parameter.detach()));
  }
  if (rate_in == RateIn::kTensor)
    rate_tensor_ = at::zeros({}, parameters_.at(0).options().dtype(at::kFloat).requires_grad(false));
}

void Sgd::set_rate(double lr) {
  rate_ = lr;
  if (rate_tensor_.defined()) rate_tensor_.fill_(lr);
}

std::vector<at::Tensor> Sgd::gradients() const {
  std::vector<at::Tensor> gradients;
  gradients.reserve(parameters_.size());
  for (const auto& parameter : parameters_) {
    at::Tensor gradient = parameter.grad();
    TORCH_CHECK(gradient.defined(), "a parameter has no gradient");
    if (!same_layout(gradient, parameter)) gradient = at::empty_like(parameter).copy_(gradient);
    gradients.push_back(std::move(gradient));
  }
  return gradients;
}

at::Tensor Sgd::gradient_buffer() const {
  at::Tensor buffer;
  for (const auto& parameter : parameters_) {
    const at::Tensor& gradient = parameter.grad();
    TORCH_CHECK(gradient.defined(), "a parameter has no gradient");
    const bool lies_alike = gradient.storage().nbytes() == buffer_.nbytes() && gradient.scalar_type() == at::kFloat &&
                            gradient.storage_offset() == parameter.storage_offset();
    if (!buffer.defined() && lies_alike) buffer = buffer_of({gradient});
  }
  if (!buffer.defined()) return buffer;
  for (const auto& parameter : parameters_)
    if (!parameter.grad().is_alias_of(buffer)) like(buffer, parameter).copy_(parameter.grad());
  return buffer;
}

void Sgd::step() {
  const at::NoGradGuard no_grad;
  const at::Tensor buffer = buffer_.defined() ? gradient_buffer() : at::Tensor();
  if (buffer.defined()) {
    fused_sgd(buffer_, buffer, momentum_buffer_, rate_tensor_, {momentum_, weight_decay_, nesterov_});
    return drop_gradients();
  }
  const auto apply = [&](const auto& rate) {
    // Buffers start at zero, which makes the first step no special case: dampening is 0.
    at::_fused_sgd_(parameters_, gradients(), momenta_, weight_decay_, momentum_, rate, /*dampening=*/0, nesterov_,
                    /*maximize=*/false, /*is_first_step=*/false);
  };
  if (rate_tensor_.defined()) {
    apply(rate_tensor_);
  } else {
    apply(rate_);
  }
  drop_gradients();
}

void Sgd::drop_gradients() {
  for (auto& parameter : parameters_) parameter.mutable_grad().reset();
}

std::vector<NamedTensor> Sgd::state() const {
  std::vector<NamedTensor> state;
  for (std::size_t i = 0; i < momenta_.size(); ++i) state.push_back({names_[i], momenta_[i]});
  return state;
}

}  // namespace ekd

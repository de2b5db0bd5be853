#include "ekd/engine/sgd.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace ekd {
namespace {

// The fused call walks raw memory and checks neither shapes nor strides. Strides of axes of one element say nothing.
bool same_layout(const at::Tensor& a, const at::Tensor& b) {
  if (a.sizes() != b.sizes()) return false;
  for (std::int64_t axis = 0; axis < a.dim(); ++axis)
    if (a.size(axis) > 1 && a.stride(axis) != b.stride(axis)) return false;
  return true;
}

}  // namespace

Sgd::Sgd(const std::vector<NamedTensor>& parameters, const OptimConfig& config, RateIn rate_in)
    : momentum_(config.momentum), weight_decay_(config.weight_decay), nesterov_(config.nesterov) {
  for (const auto& [name, parameter] : parameters) {
    names_.push_back(name);
    parameters_.push_back(parameter);
    if (momentum_ != 0) momenta_.push_back(at::zeros_like(parameter.detach()));
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

void Sgd::step() {
  const at::NoGradGuard no_grad;
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

#include "ekd/nn/scope.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <utility>

namespace ekd {

Scope::Scope(NetworkState& state, at::Generator generator, std::string prefix)
    : state_(state), generator_(std::move(generator)), prefix_(std::move(prefix)) {}

Scope Scope::operator/(const std::string& name) const { return {state_, generator_, prefix_ + name + "."}; }

at::Tensor Scope::normal_parameter(const std::string& name, at::IntArrayRef shape, double std) const {
  return add_parameter(name, at::empty(shape, at::kFloat).normal_(0, std, generator_));
}

at::Tensor Scope::uniform_parameter(const std::string& name, at::IntArrayRef shape, double bound) const {
  return add_parameter(name, at::empty(shape, at::kFloat).uniform_(-bound, bound, generator_));
}

at::Tensor Scope::constant_parameter(const std::string& name, at::IntArrayRef shape, double value) const {
  return add_parameter(name, at::full(shape, value, at::kFloat));
}

at::Tensor Scope::buffer(const std::string& name, at::IntArrayRef shape, double value) const {
  state_.buffers.push_back({prefix_ + name, at::full(shape, value, at::kFloat)});
  return state_.buffers.back().tensor;
}

void Scope::batch_counter(const std::string& name) const {
  state_.buffers.push_back({prefix_ + name, at::zeros({}, at::kLong)});
  state_.batch_counters.push_back(state_.buffers.back().tensor);
}

at::Tensor Scope::add_parameter(const std::string& name, const at::Tensor& start) const {
  at::Tensor parameter = start.dim() == 4 ? start.contiguous(at::MemoryFormat::ChannelsLast) : start;
  parameter.requires_grad_();
  state_.parameters.push_back({prefix_ + name, parameter});
  return parameter;
}

}  // namespace ekd

#include "ekd/nn/scope.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <utility>

namespace ekd {
namespace {

at::Tensor shape_only(at::IntArrayRef shape, at::ScalarType type = at::kFloat) {
  return at::empty(shape, at::TensorOptions().dtype(type).device(at::kMeta));
}

}  // namespace

Scope::Scope(NetworkState& state, at::Generator generator, std::string prefix)
    : state_(state), generator_(std::move(generator)), prefix_(std::move(prefix)) {}

Scope Scope::operator/(const std::string& name) const { return {state_, generator_, prefix_ + name + "."}; }

at::Tensor Scope::normal_parameter(const std::string& name, at::IntArrayRef shape, double std) const {
  if (!generator_.defined()) return add_parameter(name, shape_only(shape));
  return add_parameter(name, at::empty(shape, at::kFloat).normal_(0, std, generator_));
}

at::Tensor Scope::uniform_parameter(const std::string& name, at::IntArrayRef shape, double bound) const {
  if (!generator_.defined()) return add_parameter(name, shape_only(shape));
  return add_parameter(name, at::empty(shape, at::kFloat).uniform_(-bound, bound, generator_));
}

at::Tensor Scope::constant_parameter(const std::string& name, at::IntArrayRef shape, double value) const {
  return add_parameter(name, generator_.defined() ? at::full(shape, value, at::kFloat) : shape_only(shape));
}

at::Tensor Scope::buffer(const std::string& name, at::IntArrayRef shape, double value) const {
  state_.buffers.push_back(
      {prefix_ + name, generator_.defined() ? at::full(shape, value, at::kFloat) : shape_only(shape)});
  return state_.buffers.back().tensor;
}

void Scope::batch_counter(const std::string& name) const {
  state_.buffers.push_back(
      {prefix_ + name, generator_.defined() ? at::zeros({}, at::kLong) : shape_only({}, at::kLong)});
  state_.batch_counters.push_back(state_.buffers.back().tensor);
}

at::Tensor Scope::add_parameter(const std::string& name, const at::Tensor& start) const {
  at::Tensor parameter = start.dim() == 4 ? start.contiguous(at::MemoryFormat::ChannelsLast) : start;
  parameter.requires_grad_();
  state_.parameters.push_back({prefix_ + name, parameter});
  return parameter;
}

}  // namespace ekd

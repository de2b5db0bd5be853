#include "ekd/train/optimizer.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include "ekd/core/device.h"
#include "ekd/kernels/fused.h"

namespace ekd {
namespace {

// The fused calls walk raw memory and check neither shapes nor strides. Strides of axes of one element say nothing.
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

// Numbers beside the parameters, from 0: they lie as the parameters do, in a buffer where these lie in one.
struct Beside {
  Beside() = default;
  Beside(const std::vector<at::Tensor>& parameters, const at::Tensor& parameter_buffer) {
    if (parameter_buffer.defined()) buffer.push_back(at::zeros_like(parameter_buffer));
    for (const auto& parameter : parameters)
      each.push_back(buffer.empty() ? at::zeros_like(parameter.detach()) : like(buffer[0], parameter));
  }

  void append_to(std::vector<NamedTensor>& state, const std::string& prefix,
                 const std::vector<std::string>& names) const {
    for (std::size_t i = 0; i < each.size(); ++i) state.push_back({prefix + names[i], each[i]});
  }

  std::vector<at::Tensor> each, buffer;  // the latter one tensor or none
};

// Multiplies the gradients so that their norm is at most `most`, and returns what it was.
at::Tensor clip(const std::vector<at::Tensor>& gradients, double most) {
  const at::Tensor norm = at::linalg_vector_norm(at::stack(at::_foreach_norm(gradients)), 2);
  at::_foreach_mul_(gradients, (most / (norm + 1e-6)).clamp_max(1));
  return norm;
}

}  // namespace

// What moves parameters by their gradients.
class UpdateRule {
 public:
  // Parameters and gradients one by one, or, where `whole`, the two buffers that hold all of them. `rate` as a number,
  // or as a tensor where that is defined.
  struct Step {
    std::vector<at::Tensor> parameters, gradients;
    bool whole = false;
    double rate = 0;
    at::Tensor rate_tensor;

    template <class Call>
    void with_rate(Call call) const {
      if (rate_tensor.defined()) return call(rate_tensor);
      call(rate);
    }
  };

  UpdateRule() = default;
  virtual ~UpdateRule() = default;
  UpdateRule(const UpdateRule&) = delete;
  UpdateRule& operator=(const UpdateRule&) = delete;

  virtual void apply(const Step& step) = 0;
  virtual std::vector<NamedTensor> state(const std::vector<std::string>& names) const = 0;
};

namespace {

class Sgd final : public UpdateRule {
 public:
  Sgd(const OptimConfig& config, const std::vector<at::Tensor>& parameters, const at::Tensor& buffer)
      : fused_{config.momentum, config.weight_decay, config.nesterov} {
    if (config.momentum != 0) momenta_ = Beside(parameters, buffer);
  }

  void apply(const Step& step) override {
    if (step.whole) {
      const at::Tensor momenta = momenta_.buffer.empty() ? at::Tensor() : momenta_.buffer[0];
      return fused_sgd(step.parameters[0], step.gradients[0], momenta, step.rate_tensor, fused_);
    }
    step.with_rate([&](const auto& rate) {
      // Momenta start at zero, which makes the first step no special case: dampening is 0.
      at::_fused_sgd_(step.parameters, step.gradients, momenta_.each, fused_.weight_decay, fused_.momentum, rate,
                      /*dampening=*/0, fused_.nesterov, /*maximize=*/false, /*is_first_step=*/false);
    });
  }

  std::vector<NamedTensor> state(const std::vector<std::string>& names) const override {
    std::vector<NamedTensor> state;
    momenta_.append_to(state, "", names);
    return state;
  }

 private:
  FusedSgd fused_;
  Beside momenta_;
};

class AdamW final : public UpdateRule {
 public:
  AdamW(const OptimConfig& config, const std::vector<at::Tensor>& parameters, const at::Tensor& buffer)
      : beta1_(config.beta1),
        beta2_(config.beta2),
        eps_(config.eps),
        weight_decay_(config.weight_decay),
        means_(parameters, buffer),
        squares_(parameters, buffer),
        steps_(at::zeros({}, parameters.at(0).options().dtype(at::kFloat).requires_grad(false))) {}

  void apply(const Step& step) override {
    steps_.add_(1);  // on the device, where the corrections of the bias are made of it
    const std::vector<at::Tensor> steps(step.parameters.size(), steps_);
    const auto of = [&](const Beside& beside) -> const auto& { return step.whole ? beside.buffer : beside.each; };
    step.with_rate([&](const auto& rate) {
      at::_fused_adamw_(step.parameters, step.gradients, of(means_), of(squares_), /*max_exp_avg_sqs=*/{}, steps, rate,
                        beta1_, beta2_, weight_decay_, eps_, /*amsgrad=*/false, /*maximize=*/false);
    });
  }

  std::vector<NamedTensor> state(const std::vector<std::string>& names) const override {
    std::vector<NamedTensor> state;
    means_.append_to(state, "exp_avg.", names);
    squares_.append_to(state, "exp_avg_sq.", names);
    state.push_back({"steps", steps_});
    return state;
  }

 private:
  double beta1_, beta2_, eps_, weight_decay_;
  Beside means_, squares_;
  at::Tensor steps_;  // float32, 0-dim: exact up to 2²⁴ steps
};

}  // namespace

Optimizer::Optimizer(const std::vector<NamedTensor>& parameters, const OptimConfig& config, RateIn rate_in)
    : clip_norm_(config.clip_norm) {
  for (const auto& [name, parameter] : parameters) {
    names_.push_back(name);
    parameters_.push_back(parameter);
  }
  const at::Device device = parameters_.at(0).device();
  if (rate_in == RateIn::kTensor && device.is_cuda() && fused_kernels() && has_fused_kernels(device))
    buffer_ = buffer_of(parameters_);
  if (rate_in == RateIn::kTensor)
    rate_tensor_ = at::zeros({}, parameters_.at(0).options().dtype(at::kFloat).requires_grad(false));
  if (config.name == "adamw") {
    rule_ = std::make_unique<AdamW>(config, parameters_, buffer_);
  } else {
    TORCH_CHECK(config.name == "sgd", "no optimiser '", config.name, "'");
    rule_ = std::make_unique<Sgd>(config, parameters_, buffer_);
  }
}

Optimizer::~Optimizer() = default;

void Optimizer::set_rate(double lr) {
  rate_ = lr;
  if (rate_tensor_.defined()) rate_tensor_.fill_(lr);
}

std::vector<at::Tensor> Optimizer::gradients() const {
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

at::Tensor Optimizer::gradient_buffer() const {
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

at::Tensor Optimizer::step() {
  const at::NoGradGuard no_grad;
  UpdateRule::Step step;
  step.rate = rate_;
  step.rate_tensor = rate_tensor_;
  const at::Tensor buffer = buffer_.defined() ? gradient_buffer() : at::Tensor();
  step.whole = buffer.defined();
  step.parameters = step.whole ? std::vector<at::Tensor>{buffer_} : parameters_;
  step.gradients = step.whole ? std::vector<at::Tensor>{buffer} : gradients();
  const at::Tensor norm = clip_norm_ > 0 ? clip(step.gradients, clip_norm_) : at::Tensor();
  rule_->apply(step);
  drop_gradients();
  return norm;
}

void Optimizer::drop_gradients() {
  for (auto& parameter : parameters_) parameter.mutable_grad().reset();
}

std::vector<NamedTensor> Optimizer::state() const { return rule_->state(names_); }

}  // namespace ekd

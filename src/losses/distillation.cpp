#include "ekd/losses/distillation.h"

#include <ATen/core/grad_mode.h>

namespace ekd {

void DistillationLoss::to(at::Device device) {
  const at::NoGradGuard no_grad;
  for (const auto* tensors : {&parameters_, &buffers_})
    for (const auto& named : *tensors) at::Tensor(named.tensor).set_data(named.tensor.to(device));
}

at::Tensor DistillationLoss::add_parameter(const std::string& name, const at::Tensor& start) {
  parameters_.push_back({name, start.detach().clone().requires_grad_()});
  return parameters_.back().tensor;
}

at::Tensor DistillationLoss::add_buffer(const std::string& name, const at::Tensor& start) {
  buffers_.push_back({name, start.detach().clone()});
  return buffers_.back().tensor;
}

}  // namespace ekd

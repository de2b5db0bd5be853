#include "ekd/losses/distillation.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/where.h>
#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

#include "ekd/core/error.h"
#include "ekd/core/text.h"

namespace ekd {

void check_combination(const DistillationLossRow& loss, const CombinationRow& combination,
                       const std::vector<double>& teacher_weights) {
  if (!goes_with(loss, combination)) {
    std::vector<std::string> accepted;
    for (const auto& row : combination_registry().rows())
      if (goes_with(loss, row)) accepted.push_back(row.name);
    throw UsageError("--loss " + loss.name + " does not go with --kd " + combination.name +
                     "; accepted: " + join(accepted));
  }
  const bool weighted = std::ranges::any_of(teacher_weights, [](double weight) { return weight != 1; });
  if (weighted && combination.sample_weights != nullptr)
    throw UsageError("--kd " + combination.name +
                     " weighs the teachers itself: it does not go with --teacher …@WEIGHT");
}

std::int64_t whole_setting(const DistillConfig& config, const std::string& name) {
  const double value = config.loss_settings.at(name);
  if (std::floor(value) != value)
    throw UsageError("distill." + name + ": takes a whole number, not " + fmt::format("{}", value));
  return static_cast<std::int64_t>(value);
}

at::Tensor warm_up_ramp(const at::Tensor& epoch, double epochs) { return ((epoch.floor() + 1) / epochs).clamp_max(1); }

at::Tensor dominant_classes(const at::Tensor& targets, const at::Tensor& labels) {
  const at::Tensor own = labels.unsqueeze(1);
  return at::where(targets.gather(1, own) >= targets.amax(1, /*keepdim=*/true), own,
                   targets.argmax(1, /*keepdim=*/true));
}

at::Tensor in_float(const at::Tensor& x) { return x.scalar_type() == at::kDouble ? x : x.to(at::kFloat); }

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

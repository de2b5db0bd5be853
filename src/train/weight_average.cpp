#include "ekd/train/weight_average.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_copy.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_sub.h>
#include <ATen/ops/zeros.h>

#include "ekd/models/registry.h"

namespace ekd {

WeightAverage::WeightAverage(const Classifier& model, double decay)
    : decay_(decay), average_(make_model(model.spec(), /*seed=*/0)) {
  const at::NoGradGuard no_grad;
  const auto live = model_state(model);
  average_->to(live.at(0).tensor.device());
  average_->set_training(false);
  for (auto& parameter : average_->parameters()) parameter.tensor.requires_grad_(false);
  const auto own = model_state(*average_);
  for (std::size_t i = 0; i < own.size(); ++i) {
    const bool averages = own[i].tensor.is_floating_point();
    (averages ? averaged_ : copied_).push_back(own[i].tensor);
    (averages ? weights_ : counters_).push_back(live[i].tensor.detach());
  }
  at::_foreach_copy_(averaged_, weights_);
  if (!copied_.empty()) at::_foreach_copy_(copied_, counters_);
  updates_ = at::zeros({}, live.at(0).tensor.options().dtype(at::kLong).requires_grad(false));
}

void WeightAverage::update() {
  const at::NoGradGuard no_grad;
  const at::Tensor share = ((updates_ + 10).reciprocal() * 9).clamp_min_(1 - decay_);
  auto change = at::_foreach_sub(weights_, averaged_);
  at::_foreach_mul_(change, share);
  at::_foreach_add_(averaged_, change);
  if (!copied_.empty()) at::_foreach_copy_(copied_, counters_);
  updates_.add_(1);
}

std::vector<NamedTensor> WeightAverage::state() const {
  auto state = model_state(*average_);
  state.push_back({"updates", updates_});
  return state;
}

}  // namespace ekd

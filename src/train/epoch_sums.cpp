#include "ekd/train/epoch_sums.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/logical_and.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include "ekd/core/device.h"
#include "ekd/kernels/fused.h"

namespace ekd {

EpochSums::EpochSums(at::Device device) : step_(at::zeros({}, at::TensorOptions().dtype(at::kLong).device(device))) {}

void EpochSums::set_names(std::vector<std::string> names) {
  names_ = std::move(names);
  const auto count = static_cast<std::int64_t>(names_.size());
  sums_ = at::zeros({count}, step_.options().dtype(at::kDouble));
  first_bad_ = at::zeros({count}, step_.options()).fill_(-1);
}

void EpochSums::begin_step(std::int64_t step, std::int64_t batch_size) {
  step_.fill_(step);
  samples_ += batch_size;
}

void EpochSums::add(const LossTerms& losses, const at::Tensor& total, std::int64_t batch_size) {
  check_weights(losses);
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> values{total.detach()};
  for (const auto& term : losses.terms) values.push_back(term.value.detach());
  if (names_.empty()) {
    std::vector<std::string> names{"loss"};
    for (const auto& term : losses.terms) names.push_back(term.name);
    set_names(std::move(names));
  }
  TORCH_CHECK(names_.size() == values.size(), "the terms of an objective do not change");
  if (fused_kernels() && fused_terms_take(values))
    return fused_add_terms(values, static_cast<double>(batch_size), step_, sums_, first_bad_);
  const at::Tensor now = at::stack(values).to(at::kDouble);
  sums_ += now * static_cast<double>(batch_size);
  const at::Tensor newly_bad = at::logical_and(first_bad_ < 0, at::isfinite(now).logical_not());
  first_bad_.copy_(at::where(newly_bad, step_, first_bad_));  // masked_fill_ would read the step back
}

void EpochSums::check_weights(const LossTerms& losses) {
  if (weights_.empty())
    for (const auto& term : losses.terms) weights_.push_back(term.weight);
  TORCH_CHECK(weights_.size() == losses.terms.size(), "the terms of an objective do not change");
  for (std::size_t i = 0; i < losses.terms.size(); ++i)
    TORCH_CHECK(weights_[i] == losses.terms[i].weight, "the weight of the loss term '", losses.terms[i].name,
                "' changed from ", weights_[i], " to ", losses.terms[i].weight,
                ": a CUDA graph would keep the first; a weight that changes is the term's ramp, a tensor");
}

EpochSums::NonFinite EpochSums::first_non_finite() const {
  NonFinite first;
  if (names_.empty()) return first;
  const at::Tensor steps = first_bad_.to(at::kCPU);
  const auto* step = steps.const_data_ptr<std::int64_t>();
  // The total comes first and is not finite whenever a term is not: a term's own name says more.
  for (std::size_t i = names_.size(); i-- > 0;) {
    if (step[i] >= 0 && (first.step < 0 || step[i] < first.step)) first = {step[i], names_[i]};
  }
  return first;
}

std::vector<EpochSums::Mean> EpochSums::means() const {
  std::vector<Mean> means;
  if (samples_ == 0) return means;
  const at::Tensor sums = values();
  for (std::size_t i = 0; i < names_.size(); ++i)
    means.push_back({names_[i], sums.const_data_ptr<double>()[i] / static_cast<double>(samples_)});
  return means;
}

// In place: a graph adds to these very tensors.
void EpochSums::clear() {
  samples_ = 0;
  if (names_.empty()) return;
  sums_.zero_();
  first_bad_.fill_(-1);
}

at::Tensor EpochSums::values() const { return samples_ > 0 ? sums_.to(at::kCPU) : at::zeros({0}, at::kDouble); }

void EpochSums::restore(const at::Tensor& values, const std::vector<std::string>& names, std::int64_t samples) {
  clear();
  if (names.empty()) return;
  if (names_.empty()) set_names(names);
  TORCH_CHECK(names_ == names, "the terms of an objective do not change");
  sums_.copy_(values);
  samples_ = samples;
}

}  // namespace ekd

#include "ekd/engine/epoch_sums.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/logical_and.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace ekd {
namespace {

at::Tensor never(const at::Tensor& sums) { return at::full({sums.size(0)}, -1, sums.options().dtype(at::kLong)); }

}  // namespace

void EpochSums::add(const LossTerms& losses, const at::Tensor& total, std::int64_t batch_size, std::int64_t step) {
  const at::NoGradGuard no_grad;
  std::vector<at::Tensor> values{total.detach()};
  for (const auto& term : losses.terms) values.push_back(term.value.detach());
  const at::Tensor now = at::stack(values).to(at::kDouble);
  if (names_.empty()) {
    names_.push_back("loss");
    for (const auto& term : losses.terms) names_.push_back(term.name);
    sums_ = at::zeros_like(now);
    first_bad_ = never(sums_);
  }
  TORCH_CHECK(names_.size() == values.size(), "the terms of an objective do not change");
  sums_ += now * static_cast<double>(batch_size);
  const at::Tensor newly_bad = at::logical_and(first_bad_ < 0, at::isfinite(now).logical_not());
  first_bad_.masked_fill_(newly_bad, step);
  samples_ += batch_size;
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
  if (names_.empty()) return means;
  const at::Tensor sums = values();
  for (std::size_t i = 0; i < names_.size(); ++i)
    means.push_back({names_[i], sums.const_data_ptr<double>()[i] / static_cast<double>(samples_)});
  return means;
}

void EpochSums::clear() { *this = EpochSums(); }

at::Tensor EpochSums::values() const { return sums_.defined() ? sums_.to(at::kCPU) : at::zeros({0}, at::kDouble); }

void EpochSums::restore(at::Tensor values, std::vector<std::string> names, std::int64_t samples, at::Device device) {
  clear();
  if (names.empty()) return;
  names_ = std::move(names);
  sums_ = values.to(device);
  first_bad_ = never(sums_);
  samples_ = samples;
}

}  // namespace ekd

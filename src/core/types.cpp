#include "ekd/core/types.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <type_traits>

namespace ekd {
namespace {

// The bindings name every field, here and in Batch::tensors: a new one does not compile until it is listed.
void append_tensors(Outputs& outputs, std::vector<at::Tensor*>& all) {
  auto& [logits, features] = outputs;
  all.push_back(&logits);
  for (auto& feature : features) all.push_back(&feature.tensor);
}

at::Tensor weighted(const LossTerm& term) {
  const at::Tensor value = term.value * term.weight;
  return term.ramp.defined() ? value * term.ramp : value;
}

}  // namespace

const at::Tensor& Outputs::feature(const std::string& name) const {
  for (const auto& feature : features)
    if (feature.name == name) return feature.tensor;
  TORCH_CHECK(false, "the network was asked for no feature '", name, "'");
}

std::vector<at::Tensor*> Batch::tensors() {
  auto& [own_images, own_targets, own_labels, own_indices, own_views, own_teachers] = *this;
  static_assert(std::is_same_v<decltype(own_views), std::int64_t>, "the one field that is no tensor");
  std::vector<at::Tensor*> all{&own_images, &own_targets, &own_labels, &own_indices};
  for (auto& outputs : own_teachers) append_tensors(outputs, all);
  return all;
}

Batch Batch::with_answers_to(const TeacherQuestions& questions) const {
  Batch part = *this;
  part.teachers.assign(teachers.size(), Outputs());
  for (const auto& [teacher, features] : questions) {
    part.teachers.at(teacher).logits = teachers.at(teacher).logits;
    for (const auto& name : features)
      part.teachers[teacher].features.push_back({name, teachers[teacher].feature(name)});
  }
  return part;
}

void copy_in_place(Batch& place, const Batch& batch) {
  Batch copy = batch;  // with all that is no tensor
  const auto now = copy.tensors(), before = place.tensors();
  const bool first = std::ranges::none_of(before, [](const at::Tensor* tensor) { return tensor->defined(); });
  TORCH_CHECK(first || before.size() == now.size(), "batches of one kind have the same tensors");
  for (std::size_t i = 0; i < now.size(); ++i) {
    at::Tensor& tensor = *now[i];
    TORCH_CHECK(first || before[i]->defined() == tensor.defined(), "batches of one kind have the same tensors");
    if (!tensor.defined()) continue;
    const at::Tensor memory = first ? at::empty_like(tensor) : *before[i];
    TORCH_CHECK(memory.sizes() == tensor.sizes(), "batches of one kind have the same shapes, not ", memory.sizes(),
                " and ", tensor.sizes());
    memory.copy_(tensor);
    tensor = memory;
  }
  place = std::move(copy);
}

at::Tensor LossTerms::total() const {
  TORCH_CHECK(!terms.empty(), "an objective has at least one term");
  at::Tensor total = weighted(terms.front());
  for (std::size_t i = 1; i < terms.size(); ++i) total = total + weighted(terms[i]);
  return total;
}

}  // namespace ekd

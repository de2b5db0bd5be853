#include "ekd/losses/combination.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/stack.h>

#include <cmath>

#include "losses/exponentials.h"

namespace ekd {
namespace {

double count_of(const at::Tensor& teachers) { return static_cast<double>(teachers.size(0)); }

TeacherTargets add_loss(const at::Tensor& teachers, double temperature) {
  return {softened_logits(teachers, temperature)};
}

TeacherTargets avg_loss(const at::Tensor& teachers, double temperature) {
  return {.logits = softened_logits(teachers, temperature), .divisor = count_of(teachers)};
}

// Probabilities times the number of classes, whose logarithms are near 0 where the probabilities are nearly equal.
TeacherTargets avg_softmax(const at::Tensor& teachers, double temperature) {
  const at::Tensor logits = softened_logits(teachers, temperature);
  return {log_mean_exp(logits - log_mean_exp(logits, -1), 0).squeeze(0)};
}

// For K teachers with mean m: Σ K·m·(log(K·m) − log s) = K·KL(m ‖ s) + K·log K.
TeacherTargets sum_softmax(const at::Tensor& teachers, double temperature) {
  TeacherTargets targets = avg_softmax(teachers, temperature);
  targets.factor = count_of(teachers);
  targets.offset = temperature * temperature * targets.factor * std::log(targets.factor);
  return targets;
}

TeacherTargets avg_logits(const at::Tensor& teachers, double temperature) {
  return {softened_logits(teachers, temperature).mean(0)};
}

}  // namespace

const Registry<CombinationRow>& combination_registry() {
  static const Registry<CombinationRow> registry(
      "way to combine teachers",
      {{"add-loss", "the sum of each teacher's KD term", add_loss},
       {"avg-loss", "the mean of each teacher's KD term", avg_loss},
       {"avg-softmax", "KD against the mean of the teachers' softened probabilities (avg-loss's gradient)",
        avg_softmax},
       {"sum-softmax", "KD against the sum of the teachers' softened probabilities (add-loss's gradient)", sum_softmax},
       {"avg-logits", "KD against the softmax of the teachers' mean logits", avg_logits}});
  return registry;
}

at::Tensor softened_logits(const at::Tensor& logits, double temperature) {
  return (logits - logits.mean(-1, /*keepdim=*/true)) / temperature;
}

TeacherTargets combine_teachers(const CombinationRow& row, const std::vector<at::Tensor>& teacher_logits,
                                const at::Tensor& student_logits, double temperature) {
  TORCH_CHECK(!teacher_logits.empty(), "distillation needs at least one teacher");
  TORCH_CHECK(temperature > 0, "a temperature is positive, not ", temperature);
  std::vector<at::Tensor> floats;
  for (const auto& logits : teacher_logits) {
    TORCH_CHECK(student_logits.dim() == 2 && logits.sizes() == student_logits.sizes(), "student logits ",
                student_logits.sizes(), " and teacher logits ", logits.sizes(), " must be the same [B, classes]");
    floats.push_back(logits.detach().to(at::kFloat));
  }
  return row.combine(at::stack(floats), temperature);
}

}  // namespace ekd

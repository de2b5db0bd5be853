#include "ekd/losses/kd.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/stack.h>

#include <cmath>

namespace ekd {
namespace {

// float32 [teachers, B, classes], detached: nothing flows back into a teacher.
at::Tensor stack_teachers(const at::Tensor& student, const std::vector<at::Tensor>& teachers, double temperature) {
  TORCH_CHECK(!teachers.empty(), "distillation needs at least one teacher");
  TORCH_CHECK(temperature > 0, "a temperature is positive, not ", temperature);
  std::vector<at::Tensor> logits;
  for (const auto& teacher : teachers) {
    TORCH_CHECK(student.dim() == 2 && teacher.sizes() == student.sizes(), "student logits ", student.sizes(),
                " and teacher logits ", teacher.sizes(), " must be the same [B, classes]");
    logits.push_back(teacher.detach().to(at::kFloat));
  }
  return at::stack(logits);
}

at::Tensor softened(const at::Tensor& logits, double temperature) {
  return at::log_softmax(logits.to(at::kFloat) / temperature, -1);
}

// scale · KL(target ‖ student), summed over all but the batch, over B. log_target is [..., B, classes] with rows of
// probabilities; the student's log-probabilities are computed once for all leading dimensions. Logarithms on both
// sides: a probability that underflows to 0 contributes 0, not NaN.
at::Tensor divergence(const at::Tensor& log_target, const at::Tensor& student, double temperature, double scale) {
  const at::Tensor log_student = softened(student, temperature);
  const at::Tensor target = log_target.exp();
  // Two distributions differ by 0 in sum. Added term by term, that difference takes back the rounding of a row's
  // normalisation, which at high temperatures is 1e-5 of the divergence: every term becomes a small non-negative
  // number.
  const at::Tensor zero = log_student.detach().exp() - target;
  return (target * (log_target - log_student) + zero).sum() * (scale / static_cast<double>(student.size(0)));
}

at::Tensor each_teacher(const at::Tensor& student, const std::vector<at::Tensor>& teachers, double temperature,
                        double scale) {
  const at::Tensor log_targets = softened(stack_teachers(student, teachers, temperature), temperature);
  return divergence(log_targets, student, temperature, scale);
}

at::Tensor add_loss(const at::Tensor& student, const std::vector<at::Tensor>& teachers, double temperature) {
  return each_teacher(student, teachers, temperature, temperature * temperature);
}

at::Tensor avg_loss(const at::Tensor& student, const std::vector<at::Tensor>& teachers, double temperature) {
  return each_teacher(student, teachers, temperature, temperature * temperature / static_cast<double>(teachers.size()));
}

at::Tensor avg_softmax(const at::Tensor& student, const std::vector<at::Tensor>& teachers, double temperature) {
  const at::Tensor log_targets = softened(stack_teachers(student, teachers, temperature), temperature);
  const at::Tensor log_mean = at::logsumexp(log_targets, 0) - std::log(static_cast<double>(teachers.size()));
  return divergence(log_mean, student, temperature, temperature * temperature);
}

// For K teachers with mean m: Σ K·m·(log(K·m) − log s) = K·KL(m ‖ s) + K·log K.
at::Tensor sum_softmax(const at::Tensor& student, const std::vector<at::Tensor>& teachers, double temperature) {
  const auto count = static_cast<double>(teachers.size());
  return count * avg_softmax(student, teachers, temperature) + temperature * temperature * count * std::log(count);
}

at::Tensor avg_logits(const at::Tensor& student, const std::vector<at::Tensor>& teachers, double temperature) {
  const at::Tensor log_target = softened(stack_teachers(student, teachers, temperature).mean(0), temperature);
  return divergence(log_target, student, temperature, temperature * temperature);
}

}  // namespace

const Registry<KdRow>& kd_registry() {
  static const Registry<KdRow> registry(
      "way to combine teachers",
      {{"add-loss", "the sum of each teacher's KD term", add_loss},
       {"avg-loss", "the mean of each teacher's KD term", avg_loss},
       {"avg-softmax", "KD against the mean of the teachers' softened probabilities (avg-loss's gradient)",
        avg_softmax},
       {"sum-softmax", "KD against the sum of the teachers' softened probabilities (add-loss's gradient)", sum_softmax},
       {"avg-logits", "KD against the softmax of the teachers' mean logits", avg_logits}});
  return registry;
}

}  // namespace ekd

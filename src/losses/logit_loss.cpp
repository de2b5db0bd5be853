#include "losses/logit_loss.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/logsumexp.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <limits>

#include "ekd/core/error.h"
#include "losses/divergence.h"

namespace ekd {
namespace {

// [teachers, B, classes]
at::Tensor teacher_logits(const DistillationInput& input, const at::Tensor& student) {
  TORCH_CHECK(!input.teachers.empty(), "distillation needs at least one teacher");
  std::vector<at::Tensor> all;
  for (const Outputs* teacher : input.teachers) {
    TORCH_CHECK(student.dim() == 2 && teacher->logits.sizes() == student.sizes(), "student logits ", student.sizes(),
                " and teacher logits ", teacher->logits.sizes(), " must be the same [B, classes]");
    all.push_back(teacher->logits.detach().to(student.scalar_type()));
  }
  return at::stack(all);
}

}  // namespace

at::Tensor dominant_labels(const at::Tensor& targets, const at::Tensor& labels) {
  return at::arange(targets.size(1), labels.options()) == dominant_classes(targets, labels);
}

at::Tensor standardised_logits(const at::Tensor& logits) {
  constexpr double kTiny = 1e-30;  // the root has no slope at 0
  const at::Tensor deviation = (logits.var(-1, /*unbiased=*/true, /*keepdim=*/true) + kTiny).sqrt();
  return (logits - logits.mean(-1, /*keepdim=*/true)) / (deviation + 1e-7);
}

at::Tensor group_logits(const at::Tensor& logits, const at::Tensor& classes) {
  const double nothing = -std::numeric_limits<double>::infinity();
  return at::stack(
      {at::logsumexp(at::where(classes, logits, nothing), -1), at::logsumexp(at::where(classes, nothing, logits), -1)},
      -1);
}

at::Tensor LogitRows::target_logits() const { return target * temperature; }

at::Tensor LogitRows::mean(const at::Tensor& values) const {
  const bool of_batches = values.dim() == 1;
  const at::Tensor rows = of_batches ? values.unsqueeze(1) : values;
  const double batch = of_batches ? 1 : static_cast<double>(student.size(0));
  return (weights.defined() ? rows * weights : rows).sum() / (divisor * batch);
}

at::Tensor LogitRows::divergence(const at::Tensor& softened, double at_temperature, const at::Tensor& classes) const {
  return kl_divergence(student,
                       {softened, weights, at_temperature, at_temperature * at_temperature / divisor, classes});
}

at::Tensor LogitRows::group_divergence(const at::Tensor& target_groups, const at::Tensor& student_groups,
                                       double at_temperature) const {
  return kl_divergence(student_groups,
                       {target_groups, weights, /*temperature=*/1, at_temperature * at_temperature / divisor, {}});
}

LogitRows LogitRows::weighted(const at::Tensor& by) const {
  LogitRows rows = *this;
  rows.weights = weights.defined() ? weights * by : by;
  return rows;
}

LogitLoss::LogitLoss(const DistillConfig& config, const LossContext& context, LogitLossTraits traits)
    : combination_(combination_registry().at(config.kd)),
      weights_(context.teacher_weights),
      temperature_(config.temperature),
      traits_(traits) {
  TORCH_CHECK(temperature_ > 0, "a temperature is positive, not ", temperature_);
  if (context.classes == 1 && (traits_.labels || traits_.standardised || traits_.groups))
    throw UsageError("--loss " + config.loss + " compares classes, and there is one");
}

LossTerms LogitLoss::operator()(const DistillationInput& input) const {
  const auto seen = [&](const at::Tensor& logits) {
    return traits_.standardised ? standardised_logits(logits) : logits;
  };
  const at::Tensor student = in_float(input.student.logits), teachers = teacher_logits(input, student);
  TeacherTargets targets = combination_.combine(seen(teachers), weights_, temperature_);
  if (combination_.sample_weights != nullptr && teachers.size(0) > 1)
    targets.weights = combination_.sample_weights(teachers, input.targets);
  const at::Tensor labels = traits_.labels ? dominant_labels(input.targets, input.labels) : at::Tensor();
  LossTerms losses = parts({seen(student), targets.logits, labels, temperature_, targets.weights, targets.divisor});
  for (auto& term : losses.terms) {
    if (targets.factor != 1) term.value = targets.factor * term.value + targets.offset;
    if (traits_.warm_up > 0) term.ramp = warm_up_ramp(input.epoch.to(student.scalar_type()), traits_.warm_up);
  }
  return losses;
}

}  // namespace ekd

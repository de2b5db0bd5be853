#include "ekd/engine/objective.h"

#include "ekd/losses/jensen_shannon.h"
#include "ekd/losses/kd.h"
#include "ekd/losses/soft_cross_entropy.h"

namespace ekd {
namespace {

LossTerms supervised_terms(const Batch& batch, const at::Tensor& logits, double js_weight) {
  LossTerms losses;
  losses.terms.push_back({"ce", soft_cross_entropy(logits.narrow(0, 0, batch.size()), batch.targets), 1});
  if (batch.views > 1) losses.terms.push_back({"js", jensen_shannon(logits, batch.views), js_weight});
  return losses;
}

}  // namespace

Objective supervised_objective(double js_weight) {
  return {
      [js_weight](const Batch& batch, const at::Tensor& logits) { return supervised_terms(batch, logits, js_weight); },
      {}};
}

Objective distillation_objective(const DistillConfig& config, double js_weight, std::vector<std::size_t> teachers) {
  const KdRow& kd = kd_registry().at(config.kd);
  const auto terms = [config, js_weight, teachers, &kd](const Batch& batch, const at::Tensor& logits) {
    LossTerms losses = supervised_terms(batch, logits, js_weight);
    for (auto& term : losses.terms) term.weight *= config.ce_weight;
    std::vector<at::Tensor> teacher_logits;
    for (const std::size_t teacher : teachers) teacher_logits.push_back(batch.teacher_logits.at(teacher));
    const at::Tensor student_logits = logits.narrow(0, 0, batch.size());
    losses.terms.push_back({"kd", kd.loss(student_logits, teacher_logits, config.temperature), config.kd_weight});
    return losses;
  };
  return {terms, std::move(teachers)};
}

}  // namespace ekd

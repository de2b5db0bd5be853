#include "losses/kd.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>

#include "ekd/losses/combination.h"

namespace ekd {
namespace {

// scale · KL(target ‖ student), summed over all but the batch, over B. log_target is [..., B, classes] with rows of
// probabilities; the student's log-probabilities are computed once for all leading dimensions. Logarithms on both
// sides: a probability that underflows to 0 contributes 0, not NaN.
at::Tensor divergence(const at::Tensor& log_target, const at::Tensor& student, double temperature, double scale) {
  const at::Tensor log_student = at::log_softmax(student.to(at::kFloat) / temperature, -1);
  const at::Tensor target = log_target.exp();
  // Two distributions differ by 0 in sum. Added term by term, that difference takes back the rounding of a row's
  // normalisation, which at high temperatures is 1e-5 of the divergence: every term becomes a small non-negative
  // number.
  const at::Tensor zero = log_student.detach().exp() - target;
  return (target * (log_target - log_student) + zero).sum() * (scale / static_cast<double>(student.size(0)));
}

class KnowledgeDistillation final : public DistillationLoss {
 public:
  explicit KnowledgeDistillation(const DistillConfig& config)
      : combination_(combination_registry().at(config.kd)), temperature_(config.temperature) {}

  LossTerms operator()(const DistillationInput& input) const override {
    std::vector<at::Tensor> teacher_logits;
    for (const Outputs* teacher : input.teachers) teacher_logits.push_back(teacher->logits);
    const at::Tensor& student = input.student.logits;
    const TeacherTargets targets = combine_teachers(combination_, teacher_logits, student, temperature_);
    at::Tensor value =
        divergence(targets.log_probs, student, temperature_, temperature_ * temperature_ / targets.divisor);
    if (targets.factor != 1) value = targets.factor * value + targets.offset;
    return {{{"kd", value, 1}}};
  }

 private:
  const CombinationRow& combination_;
  double temperature_;
};

}  // namespace

DistillationLossRow kd_row() {
  return {.name = "kd",
          .help = "the KL divergence of softened probabilities (Hinton et al., 2015)",
          .settings = {},
          .needs = {},
          .make = [](const DistillConfig& config, const LossContext&) -> std::unique_ptr<DistillationLoss> {
            return std::make_unique<KnowledgeDistillation>(config);
          }};
}

}  // namespace ekd

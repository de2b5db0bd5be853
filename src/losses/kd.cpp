// The divergence of softened probabilities. Hinton et al., "Distilling the knowledge in a neural network", 2015.
#include <ATen/TensorOperators.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ekd/losses/combination.h"
#include "ekd/losses/distillation.h"
#include "losses/exponentials.h"

namespace ekd {
namespace {

constexpr double kLargestExponent = 60;  // e^60 times any number of classes is a float32

struct Divergence {
  at::Tensor values;    // KL(target ‖ student) of each row, last dimension 1
  at::Tensor gradient;  // by the student's logits
};

// With δ the student's logits less the target's, less their mean under the target's probabilities p:
// KL(p ‖ q) = log E_p[e^δ] = log(1 + E_p[e^δ − 1 − δ]), and q = p·e^(δ − KL). No term of that mean is negative, and
// none is a difference of nearly equal numbers, at no temperature.
Divergence divergence(const at::Tensor& target, const at::Tensor& student) {
  const at::Tensor log_p = at::log_softmax(target, -1), p = log_p.exp();
  at::Tensor delta = student - target;
  delta = delta - (p * delta).sum(-1, /*keepdim=*/true);
  // Where a δ is far from 0 the exponential is taken of log p + δ, less what would overflow.
  const at::Tensor log_ratio = log_p + delta;
  const at::Tensor excess = (log_ratio.amax(-1, /*keepdim=*/true) - kLargestExponent).relu_(),
                   share = excess.neg().exp_();
  const at::Tensor far = (log_ratio - excess).exp_() - p * share * (delta + 1);
  const at::Tensor terms = at::where(delta.abs() <= 1, p * share * exp_remainder(delta), far);
  const at::Tensor values = excess + (terms.sum(-1, /*keepdim=*/true) + excess.neg().expm1_()).log1p_();
  const at::Tensor rest = delta - values;
  return {values, at::where(rest.abs() <= 1, p * rest.expm1(), at::softmax(student, -1) - p)};
}

// scale · the divergences' sum, over the batch. LibTorch's derivatives would be differences of nearly equal numbers
// again.
struct DivergenceFunction : torch::autograd::Function<DivergenceFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& student,
                            const at::Tensor& target, double temperature, double scale) {
    const Divergence found = divergence(target, softened_logits(student, temperature));
    const at::Tensor gradient = target.dim() > student.dim() ? found.gradient.sum(0) : found.gradient;
    const double over_batch = scale / static_cast<double>(student.size(0));
    context->save_for_backward({gradient * (over_batch / temperature)});
    return found.values.sum() * over_batch;
  }

  static torch::autograd::tensor_list backward(torch::autograd::AutogradContext* context,
                                               const torch::autograd::tensor_list& gradients) {
    return {gradients[0] * context->get_saved_variables()[0], {}, {}, {}};
  }
};

class KnowledgeDistillation final : public DistillationLoss {
 public:
  explicit KnowledgeDistillation(const DistillConfig& config)
      : combination_(combination_registry().at(config.kd)), temperature_(config.temperature) {}

  LossTerms operator()(const DistillationInput& input) const override {
    std::vector<at::Tensor> teacher_logits;
    for (const Outputs* teacher : input.teachers) teacher_logits.push_back(teacher->logits);
    const at::Tensor& student = input.student.logits;
    const TeacherTargets targets = combine_teachers(combination_, teacher_logits, student, temperature_);
    at::Tensor value = DivergenceFunction::apply(student.to(at::kFloat), targets.logits, temperature_,
                                                 temperature_ * temperature_ / targets.divisor);
    if (targets.factor != 1) value = targets.factor * value + targets.offset;
    return {{{"kd", value, 1}}};
  }

 private:
  const CombinationRow& combination_;
  double temperature_;
};

}  // namespace

// One term "kd": T² · the KL divergence of the combined teachers from the student, both softened by the temperature T,
// summed over classes, mean over the batch; computed in float32, exactly at every temperature, and never negative (but
// for sum-softmax, whose target is no distribution).
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

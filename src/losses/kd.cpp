// Divergences of whole distributions: KD, KD of standardised logits, and transformed teacher matching.
#include <ATen/TensorOperators.h>
#include <ATen/ops/logsumexp.h>

#include "losses/logit_loss.h"

namespace ekd {
namespace {

class KnowledgeDistillation final : public LogitLoss {
 public:
  KnowledgeDistillation(const DistillConfig& config, const LossContext& context, bool standardised = false)
      : LogitLoss(config, context, {.standardised = standardised}) {}

 private:
  LossTerms parts(const LogitRows& rows) const override {
    return {{{"kd", rows.divergence(rows.target, rows.temperature), 1}}};
  }
};

class TransformedTeacherMatching final : public LogitLoss {
 public:
  TransformedTeacherMatching(const DistillConfig& config, const LossContext& context, bool weighted = false)
      : LogitLoss(config, context), weighted_(weighted) {}

 private:
  LossTerms parts(const LogitRows& rows) const override {
    if (!weighted_) return {{{"ttm", rows.divergence(rows.target, 1), 1}}};
    // log Σ p^(1/T), of probabilities that may be too small for their dtype
    const at::Tensor power_sum =
        (at::logsumexp(rows.target, -1) - at::logsumexp(rows.target_logits(), -1) / rows.temperature).exp();
    return {{{"wttm", rows.weighted(power_sum).divergence(rows.target, 1), 1}}};
  }

  bool weighted_;
};

}  // namespace

// Hinton et al., "Distilling the knowledge in a neural network", 2015. One term "kd": T² · KL(teacher ‖ student), both
// softened by T; exact at every temperature, and never negative (but for sum-softmax, whose target is no distribution).
DistillationLossRow kd_row() {
  return {.name = "kd",
          .help = "the KL divergence of softened probabilities (Hinton et al., 2015)",
          .settings = {},
          .needs = {},
          .make = make_loss<KnowledgeDistillation>,
          .combining = Combining::kSums};
}

// Sun et al., "Logit standardization in knowledge distillation", CVPR 2024: KD of standardised_logits.
DistillationLossRow lskd_row() {
  return {.name = "lskd",
          .help = "kd of logits that are standardised in each sample (Sun et al., 2024)",
          .settings = {},
          .needs = {},
          .make = [](const DistillConfig& config, const LossContext& context) -> std::unique_ptr<DistillationLoss> {
            return std::make_unique<KnowledgeDistillation>(config, context, /*standardised=*/true);
          },
          .defaults = {.temperature = 2, .kd_weight = 9, .ce_weight = 0.1},
          .combining = Combining::kSums};
}

// Zheng and Yang, "Knowledge distillation based on transformed teacher matching", ICLR 2024: KL(q ‖ p) with the
// student's p at temperature 1 and the teacher's q at T, its probabilities to the power 1/T divided by their sum U; no
// T². The weights are those of the authors' example for another pair.
DistillationLossRow ttm_row() {
  return {.name = "ttm",
          .help = "KL divergence of the student as it is from the softened teacher (Zheng and Yang, 2024)",
          .settings = {},
          .needs = {},
          .make = make_loss<TransformedTeacherMatching>,
          .defaults = {.temperature = 10, .kd_weight = 45, .ce_weight = 1},
          .combining = Combining::kSamples};
}

// The same with each sample's U as its weight, which is as large as the number of classes where the teacher is unsure.
DistillationLossRow wttm_row() {
  return {.name = "wttm",
          .help = "ttm, each sample weighted by how unsure the teacher is (Zheng and Yang, 2024)",
          .settings = {},
          .needs = {},
          .make = [](const DistillConfig& config, const LossContext& context) -> std::unique_ptr<DistillationLoss> {
            return std::make_unique<TransformedTeacherMatching>(config, context, /*weighted=*/true);
          },
          .defaults = {.temperature = 10, .kd_weight = 1, .ce_weight = 1},
          .combining = Combining::kSamples};
}

}  // namespace ekd

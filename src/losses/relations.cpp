// Losses on how the samples of a batch, or the classes over it, relate to each other: DIST and MLKD.
#include <ATen/TensorOperators.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/softmax.h>

#include "ekd/core/error.h"
#include "losses/divergence.h"
#include "losses/logit_loss.h"

namespace ekd {
namespace {

// The correlation coefficient over a dimension. 1e-8 is added to the product of the norms, as the authors' code has it:
// that matters where a sure teacher leaves a class's column nearly constant.
at::Tensor pearson(const at::Tensor& a, const at::Tensor& b, std::int64_t dim) {
  const at::Tensor u = a - a.mean(dim, /*keepdim=*/true), v = b - b.mean(dim, /*keepdim=*/true);
  return (u * v).sum(dim) / (at::linalg_vector_norm(u, 2, dim) * at::linalg_vector_norm(v, 2, dim) + 1e-8);
}

class Dist final : public LogitLoss {
 public:
  Dist(const DistillConfig& config, const LossContext& context)
      : LogitLoss(config, context),
        beta_(config.loss_settings.at("dist_beta")),
        gamma_(config.loss_settings.at("dist_gamma")) {}

 private:
  LossTerms parts(const LogitRows& rows) const override {
    const double t = rows.temperature;
    const at::Tensor student = at::softmax(softened_logits(rows.student, t), -1),
                     teacher = at::softmax(rows.target, -1);
    return {{{"inter", rows.mean(t * t * (1 - pearson(student, teacher, -1))), beta_},
             {"intra", rows.mean(t * t * (1 - pearson(student, teacher, -2).mean(-1))), gamma_}}};
  }

  double beta_, gamma_;
};

// The share of a row's values that are no larger than their median.
at::Tensor share_up_to_median(const at::Tensor& values) {
  const std::int64_t middle = (values.size(-1) - 1) / 2;
  const at::Tensor median = std::get<0>(values.sort(-1)).narrow(-1, middle, 1);
  return (values <= median).to(values.scalar_type()).mean(-1);
}

// Σ (a·aᵀ − b·bᵀ)² of the last two dimensions.
at::Tensor gram_distance(const at::Tensor& a, const at::Tensor& b) {
  return (at::matmul(a, a.transpose(-1, -2)) - at::matmul(b, b.transpose(-1, -2)))
      .square()
      .sum(at::IntArrayRef{-2, -1});
}

class MultiLevel final : public LogitLoss {
 public:
  MultiLevel(const DistillConfig& config, const LossContext& context)
      : LogitLoss(config, context),
        spread_(whole_setting(config, "mlkd_spread")),
        mask_(config.loss_settings.at("mlkd_mask")) {
    if (config.temperature <= static_cast<double>(spread_))
      throw UsageError(
          "--loss mlkd: its temperatures reach from --temperature − distill.mlkd_spread, which must be above 0");
  }

 private:
  LossTerms parts(const LogitRows& rows) const override {
    const at::Tensor logits = rows.target_logits(), probs = at::softmax(logits, -1);
    const at::Tensor of_rows = masked(share_up_to_median(probs.amax(-1))),
                     of_classes = masked(share_up_to_median(probs.sum(-2)));
    const LogitRows shared = rows.weighted(of_rows.unsqueeze(1));
    const double batch = static_cast<double>(logits.size(-2)), classes = static_cast<double>(logits.size(-1));
    at::Tensor kd, cc, bc;
    const auto add = [](at::Tensor& sum, const at::Tensor& value) { sum = sum.defined() ? sum + value : value; };
    for (std::int64_t i = -spread_; i <= spread_; ++i) {
      const double t = rows.temperature + static_cast<double>(i);
      const at::Tensor softened = logits / t;
      const at::Tensor student = at::softmax(softened_logits(rows.student, t), -1), teacher = at::softmax(softened, -1);
      add(kd, shared.divergence(softened, t));
      add(cc, rows.mean(of_classes * gram_distance(student.transpose(-1, -2), teacher.transpose(-1, -2)) / classes));
      add(bc, rows.mean(of_rows * gram_distance(student, teacher) / batch));
    }
    return {{{"kd", kd, 1}, {"cc", cc, 1}, {"bc", bc, 1}}};
  }

  at::Tensor masked(const at::Tensor& share) const { return 1 - mask_ * (1 - share); }

  std::int64_t spread_;
  double mask_;
};

}  // namespace

// Huang et al., "Knowledge distillation from a stronger teacher", NeurIPS 2022. T² · (1 − the mean correlation of
// student's and teacher's probabilities) over each sample's classes, "inter", and over each class's samples, "intra".
DistillationLossRow dist_row() {
  return {.name = "dist",
          .help = "correlations over classes and over the batch (Huang et al., 2022)",
          .settings = {{"dist_beta", 1, at_least(0), "dist: weight of the correlations over classes"},
                       {"dist_gamma", 1, at_least(0), "dist: weight of the correlations over the batch"}},
          .needs = {},
          .make = make_loss<Dist>,
          .defaults = {.temperature = 4, .kd_weight = 2, .ce_weight = 1},
          .combining = Combining::kTargets};
}

// Jin et al., "Multi-level logit distillation", CVPR 2023, of one view. With P the probabilities [B, classes] at each
// temperature from T − spread to T + spread: T² · KL, ‖PᵀP − PᵀP‖² / classes and ‖PPᵀ − PPᵀ‖² / B, summed over the
// temperatures. The authors' masks multiply these numbers by the share of samples (of classes, for the second) whose
// confidence is no larger than the median: about a half.
DistillationLossRow mlkd_row() {
  return {
      .name = "mlkd",
      .help = "samples, batch and classes at several temperatures (Jin et al., 2023)",
      .settings = {{"mlkd_spread", 2, between(0, 1000), "mlkd: temperatures reach this far from --temperature, by 1"},
                   {"mlkd_mask", 1, between(0, 1), "mlkd: 1: times the share up to the median, as published; 0: not"}},
      .needs = {},
      .make = make_loss<MultiLevel>,
      .defaults = {.temperature = 4, .kd_weight = 0.9, .ce_weight = 0.1},
      .combining = Combining::kTargets};
}

}  // namespace ekd

// Information-theoretic representation distillation. Miles, López Rodríguez and Mikolajczyk, "Information theoretic
// representation distillation", BMVC 2022: the correlation loss and the mutual information loss.
#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>

#include "losses/feature_loss.h"

namespace ekd {
namespace {

// For each column, the correlation of the two networks times (B − 1) / B, as standardising by the unbiased deviation
// and a mean over B give it. A constant column has 0.
at::Tensor column_correlations(const at::Tensor& student, const at::Tensor& teacher) {
  const auto centred = [](const at::Tensor& x) { return unit_length(x - x.mean(0, /*keepdim=*/true), 0); };
  const auto count = static_cast<double>(student.size(0));
  return (centred(student) * centred(teacher)).sum(0) * ((count - 1) / count);
}

at::Tensor cosines(const at::Tensor& features) {
  const at::Tensor rows = unit_length(features, 1);
  return at::matmul(rows, rows.t());
}

// Σ (G / trace G)².
at::Tensor purity(const at::Tensor& gram) { return (gram / gram.trace().clamp_min(1e-12)).square().sum(); }

class InformationDistillation final : public FeatureLoss {
 public:
  InformationDistillation(const DistillConfig& config, const LossContext& context)
      : FeatureLoss("itrd", config, context, {.pooled = true}),
        alpha_(config.loss_settings.at("itrd_alpha")),
        correlation_(config.loss_settings.at("itrd_correlation")),
        mutual_(config.loss_settings.at("itrd_mutual")) {
    for (std::size_t i = 0; i < teachers(); ++i)
      embeddings_.push_back(
          embedding(i, "embed", student_shapes().at(0).sizes.at(0), teacher_shapes(i).at(0).sizes.at(0)));
  }

 private:
  LossTerms against(std::size_t teacher, const std::vector<at::Tensor>& student, const std::vector<at::Tensor>& theirs,
                    const DistillationInput&) const override {
    const at::Tensor embedded = embeddings_[teacher](student[0]);
    const at::Tensor off = (column_correlations(embedded, theirs[0]) - 1).abs();
    const bool same_width = student[0].size(1) == theirs[0].size(1);
    const at::Tensor ours = cosines(same_width ? student[0] : embedded);
    return {{{"correlation", off.pow(2 * alpha_).sum().log2(), correlation_},
             {"mutual", purity(ours) - purity(ours * cosines(theirs[0])), mutual_}}};
  }

  double alpha_, correlation_, mutual_;
  std::vector<Embedding> embeddings_;
};

}  // namespace

// Of the pooled features, the student's embedded in the teacher's width. "correlation": log₂ Σ_j |c_j − 1|^2α with c_j
// the correlation of column j over the batch times (B − 1) / B; the authors' deviation has no epsilon, here a column
// that is constant counts as uncorrelated. "mutual": Σ Ĝ_s² − Σ Ĝ_st², with G_s and G_t the cosines between the batch's
// images (of the raw student where the widths are equal), G_st their product element by element, Ĝ = G / trace G.
DistillationLossRow itrd_row() {
  return {.name = "itrd",
          .help = "correlation and mutual information of representations (Miles et al., 2022)",
          .settings = {{"itrd_alpha", 1.5, at_least(0.5), "itrd: sharpness of the correlation term"},
                       {"itrd_correlation", 2, at_least(0), "itrd: weight of the correlation term"},
                       {"itrd_mutual", 0.05, at_least(0), "itrd: weight of the mutual information"}},
          .needs = {.features = true},
          .make = make_loss<InformationDistillation>,
          .defaults = {.kd_weight = 1, .ce_weight = 1}};
}

}  // namespace ekd

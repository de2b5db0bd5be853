// Similarity-preserving distillation. Tung and Mori, "Similarity-preserving knowledge distillation", ICCV 2019,
// eqs. (1) to (4).
#include <ATen/TensorOperators.h>
#include <ATen/ops/matmul.h>

#include "losses/feature_loss.h"

namespace ekd {
namespace {

// How alike the images of a batch are: [B, B], each row of length 1.
at::Tensor similarities(const at::Tensor& maps) {
  const at::Tensor rows = maps.flatten(1);
  return unit_length(at::matmul(rows, rows.t()), 1);
}

class SimilarityPreserving final : public FeatureLoss {
 public:
  SimilarityPreserving(const DistillConfig& config, const LossContext& context)
      : FeatureLoss("sp", config, context, {.map = FeatureChoice::kLastMap}),
        weight_(config.loss_settings.at("sp_weight")) {}

 private:
  LossTerms against(std::size_t, const std::vector<at::Tensor>& student, const std::vector<at::Tensor>& theirs,
                    const DistillationInput&) const override {
    return {{{"sp", (similarities(student[0]) - similarities(theirs[0])).square().mean(), weight_}}};
  }

  double weight_;
};

}  // namespace

// One term "sp": the mean square, over pairs of images, between the networks' similarities in the last stage.
DistillationLossRow sp_row() {
  return {.name = "sp",
          .help = "which images of a batch are alike (Tung and Mori, 2019)",
          .settings = {{"sp_weight", 3000, at_least(0), "sp: of the term"}},
          .needs = {.features = true},
          .make = make_loss<SimilarityPreserving>,
          .defaults = {.kd_weight = 1, .ce_weight = 1}};
}

}  // namespace ekd

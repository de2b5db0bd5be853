// Attention transfer. Zagoruyko and Komodakis, "Paying more attention to attention: improving the performance of
// convolutional neural networks via attention transfer", ICLR 2017, §3.1 (with the square of each map's difference).
#include <ATen/TensorOperators.h>

#include <algorithm>

#include "losses/feature_loss.h"

namespace ekd {
namespace {

// [B, H · W], each row of length 1.
at::Tensor attention(const at::Tensor& maps) { return unit_length(maps.square().mean(1).flatten(1), 1); }

class AttentionTransfer final : public FeatureLoss {
 public:
  AttentionTransfer(const DistillConfig& config, const LossContext& context)
      : FeatureLoss("at", config, context, {.map = FeatureChoice::kAllMaps}),
        weight_(config.loss_settings.at("at_weight")) {}

 private:
  LossTerms against(std::size_t, const std::vector<at::Tensor>& student, const std::vector<at::Tensor>& theirs,
                    const DistillationInput&) const override {
    LossTerms all;
    for (std::size_t i = 0; i < student.size(); ++i) {
      const std::int64_t height = std::min(student[i].size(2), theirs[i].size(2)),
                         width = std::min(student[i].size(3), theirs[i].size(3));
      const at::Tensor ours = attention(average_pooled(student[i], height, width)),
                       others = attention(average_pooled(theirs[i], height, width));
      all.terms.push_back({"stage" + std::to_string(i + 1), (ours - others).square().mean(), weight_});
    }
    return all;
  }

  double weight_;
};

}  // namespace

// A term "stageN" for each stage: the mean square, over images and positions, between the networks' attention maps. An
// attention map is the mean of squares over the channels, of length 1 over the positions; of two maps of different
// sides the larger is average-pooled first.
DistillationLossRow at_row() {
  return {.name = "at",
          .help = "where the stages' activations lie (Zagoruyko and Komodakis, 2017)",
          .settings = {{"at_weight", 1000, at_least(0), "at: of the terms"}},
          .needs = {.features = true},
          .make = make_loss<AttentionTransfer>,
          .defaults = {.kd_weight = 1, .ce_weight = 1}};
}

}  // namespace ekd

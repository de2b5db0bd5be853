// Relational knowledge distillation. Park et al., "Relational knowledge distillation", CVPR 2019, §3.2.
#include <ATen/TensorOperators.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/smooth_l1_loss.h>

#include <algorithm>

#include "losses/feature_loss.h"

namespace ekd {
namespace {

struct Relations {
  at::Tensor distances;  // [B, B], over the mean distance of different images
  at::Tensor cosines;    // [B, B, B], of the angle at image a between b and c
};

Relations relations(const at::Tensor& features) {
  constexpr double kLeast = 1e-12;  // of a squared distance
  const at::Tensor apart = features.unsqueeze(0) - features.unsqueeze(1);
  const std::int64_t count = features.size(0);
  const at::Tensor others = 1 - at::eye(count, features.options());
  const at::Tensor distances = apart.square().sum(2).clamp_min(kLeast).sqrt() * others;
  const double pairs = static_cast<double>(std::max<std::int64_t>(count * (count - 1), 1));
  const at::Tensor directions = unit_length(apart, 2);
  return {distances / (distances.sum() / pairs).clamp_min(kLeast), at::bmm(directions, directions.transpose(1, 2))};
}

class RelationalDistillation final : public FeatureLoss {
 public:
  RelationalDistillation(const DistillConfig& config, const LossContext& context)
      : FeatureLoss("rkd", config, context, {.pooled = true}),
        distance_(config.loss_settings.at("rkd_distance")),
        angle_(config.loss_settings.at("rkd_angle")) {}

 private:
  LossTerms against(std::size_t, const std::vector<at::Tensor>& student, const std::vector<at::Tensor>& theirs,
                    const DistillationInput&) const override {
    const Relations ours = relations(student[0]), others = relations(theirs[0]);
    return {{{"distance", at::smooth_l1_loss(ours.distances, others.distances), distance_},
             {"angle", at::smooth_l1_loss(ours.cosines, others.cosines), angle_}}};
  }

  double distance_, angle_;
};

}  // namespace

// Of the pooled features, "distance": the smooth L1 distance between the networks' distances of pairs of images, each
// over its network's mean over different images; "angle": the same between the cosines of the angles of triples.
// Means over all B² pairs and B³ triples.
DistillationLossRow rkd_row() {
  return {.name = "rkd",
          .help = "distances and angles between images (Park et al., 2019)",
          .settings = {{"rkd_distance", 25, at_least(0), "rkd: weight of the distances"},
                       {"rkd_angle", 50, at_least(0), "rkd: weight of the angles"}},
          .needs = {.features = true},
          .make = make_loss<RelationalDistillation>,
          .defaults = {.kd_weight = 1, .ce_weight = 1}};
}

}  // namespace ekd

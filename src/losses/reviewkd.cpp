// Knowledge review. Chen et al., "Distilling knowledge via knowledge review", CVPR 2021, §3.2 and §3.3: attention based
// fusion of the student's stages, and the hierarchical context loss.
#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/mse_loss.h>
#include <ATen/ops/upsample_nearest2d.h>

#include <algorithm>
#include <cmath>

#include "losses/feature_loss.h"

namespace ekd {
namespace {

at::Tensor resized(const at::Tensor& maps, at::IntArrayRef side) {
  return maps.sizes().slice(2) == side ? maps : at::upsample_nearest2d(maps, side);
}

// The mean of the mean squares of the maps, with weight 1, and of their averages over grids that are coarser than they
// are, with half the weight of the one before.
at::Tensor hierarchical_context(const at::Tensor& ours, const at::Tensor& theirs) {
  at::Tensor sum = at::mse_loss(ours, theirs);
  double weight = 1, weights = 1;
  for (const std::int64_t grid : {4, 2, 1}) {
    if (grid >= ours.size(2) || grid >= ours.size(3)) continue;
    weight /= 2;
    weights += weight;
    sum = sum + weight * at::mse_loss(average_pooled(ours, grid, grid), average_pooled(theirs, grid, grid));
  }
  return sum / weights;
}

class KnowledgeReview final : public FeatureLoss {
 public:
  KnowledgeReview(const DistillConfig& config, const LossContext& context)
      : FeatureLoss("reviewkd", config, context,
                    {.map = FeatureChoice::kAllMaps, .pooled = true, .preactivations = true}),
        weight_(config.loss_settings.at("reviewkd_weight")),
        warm_up_(config.loss_settings.at("reviewkd_warm_up")) {
    const auto middle = std::min(whole_setting(config, "reviewkd_channels"), student_shapes().back().sizes[0]);
    for (std::size_t i = 0; i < teachers(); ++i) fusions_.push_back(fusions(i, middle));
  }

 private:
  // Of one level; the names are the authors'.
  struct Fusion {
    at::Tensor narrow;  // 1×1, to the middle's channels
    BatchStandardisation narrow_norm;
    at::Tensor widen;  // 3×3, to the teacher's channels
    BatchStandardisation widen_norm;
    at::Tensor gates, gates_bias;  // 1×1, of both maps; undefined at the pooled level, which has no coarser one
  };

  // From the pooled level to the first stage.
  std::vector<Fusion> fusions(std::size_t teacher, std::int64_t middle) {
    std::vector<Fusion> all;
    for (std::size_t level = 0; level < student_shapes().size(); ++level) {
      const std::size_t stage = student_shapes().size() - 1 - level;
      const std::int64_t in = student_shapes()[stage].sizes[0], out = teacher_shapes(teacher)[stage].sizes[0];
      const std::string name = "abfs." + std::to_string(level);
      const auto of = [](std::int64_t count, double gain) { return std::sqrt(gain / static_cast<double>(count)); };
      Fusion fusion{
          .narrow = uniform_parameter(teacher, name + ".conv1.0.weight", {middle, in, 1, 1}, of(in, 3)),
          .narrow_norm = standardisation(teacher, name + ".conv1.1", middle),
          .widen = uniform_parameter(teacher, name + ".conv2.0.weight", {out, middle, 3, 3}, of(9 * middle, 3)),
          .widen_norm = standardisation(teacher, name + ".conv2.1", out)};
      if (level > 0) {
        const double bound = of(2 * middle, 1);
        fusion.gates = uniform_parameter(teacher, name + ".att_conv.0.weight", {2, 2 * middle, 1, 1}, bound);
        fusion.gates_bias = uniform_parameter(teacher, name + ".att_conv.0.bias", 2, bound);
      }
      all.push_back(std::move(fusion));
    }
    return all;
  }

  LossTerms against(std::size_t teacher, const std::vector<at::Tensor>& student, const std::vector<at::Tensor>& theirs,
                    const DistillationInput& input) const override {
    const at::Tensor ramp = warm_up_ramp(input.epoch, warm_up_);
    LossTerms all;
    at::Tensor coarser;
    for (std::size_t level = 0; level < student.size(); ++level) {
      const std::size_t stage = student.size() - 1 - level;
      const Fusion& fusion = fusions_[teacher][level];
      const auto maps = [](const at::Tensor& x) { return x.dim() == 2 ? x.unsqueeze(2).unsqueeze(3) : x; };
      const at::Tensor ours = maps(student[stage]), goal = maps(theirs[stage]);
      at::Tensor fused = fusion.narrow_norm(at::conv2d(ours, fusion.narrow));
      if (level > 0) {
        const at::Tensor upper = resized(coarser, fused.sizes().slice(2));
        const at::Tensor gates = at::conv2d(at::cat({fused, upper}, 1), fusion.gates, fusion.gates_bias).sigmoid();
        fused = fused * gates.narrow(1, 0, 1) + upper * gates.narrow(1, 1, 1);
      }
      coarser = resized(fused, goal.sizes().slice(2));
      const at::Tensor out = fusion.widen_norm(at::conv2d(coarser, fusion.widen, {}, /*stride=*/1, /*padding=*/1));
      const std::string name = level == 0 ? "level_pooled" : "level_f" + std::to_string(stage + 1);
      all.terms.push_back({name, hierarchical_context(out, goal), weight_, ramp});
    }
    return all;
  }

  double weight_, warm_up_;
  std::vector<std::vector<Fusion>> fusions_;
};

}  // namespace

// A term for each level, "level_pooled" and "level_fN" of the stages: the hierarchical context loss between the
// teacher's map and what the student's level, fused with all deeper ones, gives through 3×3 convolution and batch
// normalisation. The teacher's maps are those before activation where its network offers them. The terms rise linearly
// over the warm-up, from 1/warm-up in the first epoch.
DistillationLossRow reviewkd_row() {
  return {.name = "reviewkd",
          .help = "each stage from all deeper ones, fused (Chen et al., 2021)",
          .settings = {{"reviewkd_weight", 1, at_least(0), "reviewkd: of the terms"},
                       {"reviewkd_warm_up", 20, at_least(1), "reviewkd: epochs over which the terms rise linearly"},
                       {"reviewkd_channels", 512, between(1, 1e6),
                        "reviewkd: channels of the fused maps, or the student's last width where that is less"}},
          .needs = {.features = true, .epoch = true},
          .make = make_loss<KnowledgeReview>,
          .defaults = {.kd_weight = 1, .ce_weight = 1}};
}

}  // namespace ekd

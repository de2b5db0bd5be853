// Distillation losses that use what KD does not: numbers that change over the training, features, tensors of their own.
#pragma once

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include "ekd/losses/distillation.h"

namespace ekd::test {

// The mean square between logits, with a weight that rises over the epochs of distill.warm_up.
class Ramped final : public DistillationLoss {
 public:
  explicit Ramped(double warm_up) : warm_up_(warm_up) {}

  LossTerms operator()(const DistillationInput& input) const override {
    const at::Tensor difference = input.student.logits - input.teachers.at(0)->logits;
    return {{{"square", difference.square().mean(), 0.5, ((input.epoch.floor() + 1) / warm_up_).clamp_max(1)}}};
  }

 private:
  double warm_up_;
};

// The mean square between the teacher's last stage and a trained projection of the student's, both less a running mean.
class Hint final : public DistillationLoss {
 public:
  explicit Hint(const LossContext& context) {
    const std::int64_t from = channels_of(context.student), to = channels_of(context.teachers.at(0));
    projection_ = add_parameter("projection", at::full({to, from}, 1.0 / static_cast<double>(from)));
    mean_ = add_buffer("mean", at::zeros({to, 1}));
  }

  std::set<std::string> teacher_features(std::size_t teacher) const override {
    return teacher == 0 ? std::set<std::string>{kStage} : std::set<std::string>{};
  }

  LossTerms operator()(const DistillationInput& input) const override {
    const at::Tensor theirs = input.teachers.at(0)->feature(kStage).to(at::kFloat).flatten(2);
    const at::Tensor ours = at::matmul(projection_, input.student.feature(kStage).to(at::kFloat).flatten(2));
    const at::Tensor value = (ours - theirs + mean_).square().mean();
    const at::NoGradGuard no_grad;
    at::Tensor(mean_).lerp_(theirs.mean(at::IntArrayRef{0, 2}).unsqueeze(1), 0.1);
    return {{{"hint", value, 1}}};
  }

 private:
  static constexpr const char* kStage = "layer3";
  static std::int64_t channels_of(const std::vector<FeatureShape>& shapes) {
    for (const auto& shape : shapes)
      if (shape.name == kStage) return shape.sizes.at(0);
    TORCH_CHECK(false, "no ", kStage);
  }

  at::Tensor projection_, mean_;
};

inline const DistillationLossRow kRamped{
    .name = "ramped",
    .help = "",
    .settings = {{"warm_up", 4, {.min = 1, .names = {}}, "epochs"}},
    .needs = {.epoch = true},
    .make = [](const DistillConfig& config, const LossContext&) -> std::unique_ptr<DistillationLoss> {
      return std::make_unique<Ramped>(config.loss_settings.at("warm_up"));
    }};

inline const DistillationLossRow kHint{
    .name = "hint",
    .help = "",
    .settings = {},
    .needs = {.features = true},
    .make = [](const DistillConfig&, const LossContext& context) -> std::unique_ptr<DistillationLoss> {
      return std::make_unique<Hint>(context);
    }};

}  // namespace ekd::test

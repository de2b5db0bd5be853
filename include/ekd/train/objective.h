// What a training minimises: named loss terms of a batch and the network's outputs. This is all in which the training
// commands differ.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "ekd/core/types.h"
#include "ekd/losses/distillation.h"
#include "ekd/models/classifier.h"

namespace ekd {

// What the network's features look like, by its answer to `image` [1, channels, H, W]; what it can add is among them.
// Leaves it in evaluation mode.
std::vector<FeatureShape> feature_shapes(Classifier& model, const at::Tensor& image);

class Objective {
 public:
  // Cross-entropy "ce" of the first B logits against the targets; where the batch has several views also their
  // Jensen-Shannon divergence "js" with weight js_weight.
  explicit Objective(double js_weight) : js_weight_(js_weight) {}

  // ce_weight · (the terms above) + kd_weight · (the terms of the row's loss), which sees the first B outputs and the
  // teachers of these indices into Batch::teachers.
  Objective(double js_weight, const DistillationLossRow& row, const DistillConfig& config, const LossContext& context,
            std::vector<std::size_t> teachers);

  // From now on the loss sees each teacher's logits divided by the teacher's temperature. Guo et al., "On calibration
  // of modern neural networks", ICML 2017. Call before to().
  void scale_teachers(const std::vector<double>& temperatures);

  // From now on "ce" is against (1 − share) · target + share / classes, share in [0, 1). What else looks at targets or
  // labels, the loss that has teachers, sees them as they are.
  void smooth_labels(double share) { label_smoothing_ = share; }

  // outputs of [views * B] images, logits in float32, features where needs() has them. `epoch` as in DistillationInput.
  LossTerms terms(const Batch& batch, const Outputs& outputs, const at::Tensor& epoch) const;

  // What a batch's teachers have to be asked.
  const TeacherQuestions& questions() const { return questions_; }
  // What else it looks at: features are the student's.
  const LossNeeds& needs() const { return needs_; }

  // The loss's own tensors, as "loss.NAME".
  std::vector<NamedTensor> parameters() const;
  std::vector<NamedTensor> state() const;  // parameters, then buffers, then "teacher_temperatures" where there are any
  // float32 [teachers], or undefined.
  const at::Tensor& teacher_temperatures() const { return temperatures_; }
  void to(at::Device device);

 private:
  double js_weight_, ce_weight_ = 1, kd_weight_ = 0, label_smoothing_ = 0;
  std::unique_ptr<DistillationLoss> loss_;  // null without teachers
  LossNeeds needs_;
  std::vector<std::size_t> teachers_;
  at::Tensor temperatures_;
  TeacherQuestions questions_;
};

}  // namespace ekd

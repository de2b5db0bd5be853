// Losses that hold a student's logits against its teachers', however these combine.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "ekd/losses/combination.h"
#include "ekd/losses/distillation.h"

namespace ekd {

// bool [B, classes], one class a row, as dominant_classes.
at::Tensor dominant_labels(const at::Tensor& targets, const at::Tensor& labels);

// z(x) = (x − mean) / (standard deviation + 1e-7) of each row, the deviation unbiased (Sun et al., CVPR 2024).
// Differentiable, also in a row whose logits are all the same.
at::Tensor standardised_logits(const at::Tensor& logits);

// [..., 2]: log Σ exp of the logits inside the mask and of those outside, neither of which may be empty: the logits of
// the probabilities of two groups of classes.
at::Tensor group_logits(const at::Tensor& logits, const at::Tensor& classes);

// The logits of a student and of the targets that its teachers make, in float32, or in float64 where the student's are.
struct LogitRows {
  at::Tensor student;      // [B, classes]
  at::Tensor target;       // [targets, B, classes]: logits over the temperature
  at::Tensor labels;       // as of dominant_labels; undefined unless asked for
  double temperature = 1;  // --temperature
  at::Tensor weights;      // [targets, B] or [targets, 1]; undefined: all 1
  double divisor = 1;

  // The target's logits at temperature 1.
  at::Tensor target_logits() const;

  // Σ weight · value / divisor, mean over the batch: of values [targets, B], or [targets] that are means already.
  at::Tensor mean(const at::Tensor& values) const;

  // The mean of temperature² · KL(softmax(softened) ‖ softmax(student / temperature)), over `classes` alone where there
  // is a mask.
  at::Tensor divergence(const at::Tensor& softened, double at_temperature, const at::Tensor& classes = {}) const;

  // The mean of temperature² · KL of the probabilities of two groups: softened logits of both.
  at::Tensor group_divergence(const at::Tensor& target_groups, const at::Tensor& student_groups,
                              double at_temperature) const;

  // The same rows with these further weights [targets, B] or [targets, 1].
  LogitRows weighted(const at::Tensor& by) const;
};

struct LogitLossTraits {
  bool standardised = false;  // sees the networks through standardised_logits, before teachers combine
  bool labels = false;        // needs LogitRows::labels
  bool groups = false;        // of classes, none of which may be empty
  double warm_up = 0;         // epochs over which all parts rise linearly: min(epoch / warm_up, 1), epochs from 1
};

// Combines the teachers and leaves to each loss the parts that it is made of.
class LogitLoss : public DistillationLoss {
 public:
  LossTerms operator()(const DistillationInput& input) const final;

 protected:
  LogitLoss(const DistillConfig& config, const LossContext& context, LogitLossTraits traits = {});

  // Named values with the weights they have in the loss; the base adds the warm-up.
  virtual LossTerms parts(const LogitRows& rows) const = 0;

 private:
  const CombinationRow& combination_;
  std::vector<double> weights_;
  double temperature_;
  LogitLossTraits traits_;
};

}  // namespace ekd

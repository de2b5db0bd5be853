// What a training minimises: named loss terms of a batch and the network's logits. This is all in which the training
// commands differ.
#pragma once

#include <functional>
#include <vector>

#include "ekd/core/config.h"
#include "ekd/core/types.h"

namespace ekd {

struct Objective {
  // logits float32 [views * B, classes].
  std::function<LossTerms(const Batch& batch, const at::Tensor& logits)> terms;
  std::vector<std::size_t> teachers;  // indices into Batch::teacher_logits of those it looks at
};

// Cross-entropy "ce" of the first B logits against the targets; where the batch has several views also their
// Jensen-Shannon divergence "js" with weight js_weight.
Objective supervised_objective(double js_weight);

// ce_weight · (the supervised objective) + kd_weight · "kd", the distillation term from the teachers of these indices
// into Batch::teacher_logits; it sees the first B logits. Throws UsageError for an unknown way to combine.
Objective distillation_objective(const DistillConfig& config, double js_weight, std::vector<std::size_t> teachers);

}  // namespace ekd

// Knowledge distillation from one or several teachers.
// Hinton et al., "Distilling the knowledge in a neural network", 2015; ensembles as in "Improved Distillation with
// Ensemble of Calibrated Models".
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "ekd/core/registry.h"

namespace ekd {

// One way to combine teachers. All return T² · a KL divergence summed over classes, mean over the batch, as a 0-dim
// float32 tensor, from student [B, classes] and teachers of the same shape; computed in float32.
struct KdRow {
  std::string name;
  std::string help;
  at::Tensor (*loss)(const at::Tensor& student_logits, const std::vector<at::Tensor>& teacher_logits,
                     double temperature);
};

const Registry<KdRow>& kd_registry();

}  // namespace ekd

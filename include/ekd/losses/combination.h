// How several teachers become what a student's softened probabilities are held against.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "ekd/core/registry.h"

namespace ekd {

// One target for each teacher, or one made of all of them.
struct TeacherTargets {
  // float32 [targets, B, classes] or [B, classes], detached. Their softmax is the probabilities at the temperature:
  // they are logits over the temperature, each row shifted so that it lies near 0 where all classes are nearly as
  // likely. There float32 keeps what they differ by.
  at::Tensor logits;
  // The loss is factor · (Σ over targets, mean over samples) / divisor + offset.
  double divisor = 1, factor = 1;
  double offset = 0;  // what a KL divergence, times temperature², from a sum of distributions adds
};

struct CombinationRow {
  std::string name;
  std::string help;
  TeacherTargets (*combine)(const at::Tensor& teacher_logits, double temperature);  // float32 [teachers, B, classes]
};

const Registry<CombinationRow>& combination_registry();

// Logits over the temperature, less each row's mean: that changes no probability, and large logits that differ little
// would lose their difference.
at::Tensor softened_logits(const at::Tensor& logits, double temperature);

// The targets of teachers' logits [B, classes], whatever their dtype. Throws c10::Error where there are none, where
// their shape is not the student's, or where the temperature is not positive.
TeacherTargets combine_teachers(const CombinationRow& row, const std::vector<at::Tensor>& teacher_logits,
                                const at::Tensor& student_logits, double temperature);

}  // namespace ekd

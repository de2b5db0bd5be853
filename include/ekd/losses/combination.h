// How several teachers become what a student is held against.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "ekd/core/registry.h"

namespace ekd {

// What a way to combine teachers asks of a loss; each of these asks more than the one before.
enum class Combining {
  kLosses,   // a loss for each teacher, which are added up
  kTargets,  // that its target may be made of several teachers
  kSamples,  // that its value is a mean over samples, each of which may weigh teachers in its own way
  kSums,     // that its target need not be a distribution
};

// One target for each teacher, or one made of all of them.
struct TeacherTargets {
  // [targets, B, classes]. Their softmax is the probabilities at the temperature: they are logits over the temperature,
  // each row shifted so that it lies near 0 where all classes are nearly as likely. There float32 keeps what they
  // differ by.
  at::Tensor logits;
  // The loss is factor · (Σ over targets of weight · loss, mean over samples) / divisor + offset.
  at::Tensor weights;  // [targets, 1] or [targets, B]; undefined: all 1
  double divisor = 1, factor = 1;
  double offset = 0;  // what a KL divergence, times temperature², from a sum of distributions adds
};

struct CombinationRow {
  std::string name;
  std::string help;
  Combining asks = Combining::kLosses;
  // Of teachers' logits [teachers, B, classes]. `weights`: of the teachers, positive; empty: all 1.
  TeacherTargets (*combine)(const at::Tensor& logits, const std::vector<double>& weights, double temperature);
  // Of teachers' logits and targets [B, classes]: the weights [teachers, B] of several teachers, which add up to 1 in
  // each sample. Null where a teacher has one weight.
  at::Tensor (*sample_weights)(const at::Tensor& logits, const at::Tensor& targets) = nullptr;
  bool averages = false;  // kLosses: the losses' mean instead of their sum
};

const Registry<CombinationRow>& combination_registry();

}  // namespace ekd

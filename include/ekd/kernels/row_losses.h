// Rows of logits: softened, in one kernel, and losses with their gradients, in two kernels each. All numbers are
// float32, contiguous or not; the bits are the same at every run.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace ekd {

// Whether there are kernels for these tensors: float32, not empty, on a GPU that has_fused_kernels. Not on a CPU, where
// it costs little to begin an operation.
bool row_losses_take(const at::Tensor& logits, const at::Tensor& targets);

// A logit of a class without probability, where the mean of the others is 0.
constexpr double kNoProbability = -200;

// (logits − their mean) / temperature in each row of the last dimension: of the `classes` of a bool mask that expands
// to the logits' sizes, undefined: of all. The others become `nothing`.
at::Tensor fused_softened(const at::Tensor& logits, double temperature, const at::Tensor& classes, double nothing);

struct RowLoss {
  at::Tensor value;     // 0-dim
  at::Tensor gradient;  // of the value by the logits
};

// Which rows are compared with which, and how much each counts.
struct Divergence {
  at::Tensor target;       // [targets, B, classes]: softened logits
  at::Tensor weights;      // [targets, B] or [targets, 1]; undefined: all 1
  double temperature = 1;  // of the student
  double scale = 1;
  at::Tensor classes;  // bool, expands to target; undefined: all. The others have kNoProbability.
};

// scale / B · Σ weight · KL(softmax(target) ‖ softmax(student / temperature)), of the classes alone: student [B,
// classes] or [targets, B, classes].
RowLoss fused_divergence(const at::Tensor& student, const Divergence& of);

// −1 / B · Σ ((1 − smoothing) · targets + smoothing / classes) · log softmax(logits): both [B, classes].
RowLoss fused_cross_entropy(const at::Tensor& logits, const at::Tensor& targets, double smoothing);

// jensen_shannon of losses/classification.h: logits [views · B, classes].
RowLoss fused_jensen_shannon(const at::Tensor& logits, std::int64_t views);

}  // namespace ekd

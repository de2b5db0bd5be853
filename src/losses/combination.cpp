#include "ekd/losses/combination.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log_softmax.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "losses/divergence.h"
#include "losses/exponentials.h"

namespace ekd {
namespace {

double count_of(const at::Tensor& teachers) { return static_cast<double>(teachers.size(0)); }

// [teachers, 1], undefined where all are 1. Filled on the device: a CUDA graph copies nothing from the host.
at::Tensor weight_column(const std::vector<double>& weights, const at::Tensor& like) {
  if (std::ranges::all_of(weights, [](double weight) { return weight == 1; })) return {};
  std::vector<at::Tensor> column;
  for (const double weight : weights) column.push_back(at::full({1, 1}, weight, like.options()));
  return at::cat(column);
}

// The same, with mean 1.
at::Tensor relative_weights(std::vector<double> weights, const at::Tensor& like) {
  const double mean = std::accumulate(weights.begin(), weights.end(), 0.0) / static_cast<double>(weights.size());
  for (double& weight : weights) weight /= mean;
  return weight_column(weights, like);
}

TeacherTargets add_loss(const at::Tensor& teachers, const std::vector<double>& weights, double temperature) {
  return {.logits = softened_logits(teachers, temperature), .weights = weight_column(weights, teachers)};
}

TeacherTargets avg_loss(const at::Tensor& teachers, const std::vector<double>& weights, double temperature) {
  return {.logits = softened_logits(teachers, temperature),
          .weights = relative_weights(weights, teachers),
          .divisor = count_of(teachers)};
}

// Probabilities times the number of classes, whose logarithms are near 0 where the probabilities are nearly equal.
TeacherTargets avg_softmax(const at::Tensor& teachers, const std::vector<double>& weights, double temperature) {
  at::Tensor logits = softened_logits(teachers, temperature);
  logits = logits - log_mean_exp(logits, -1);
  if (const at::Tensor column = relative_weights(weights, teachers); column.defined())
    logits = logits + column.log().unsqueeze(-1);
  return {.logits = log_mean_exp(logits, 0), .weights = {}};
}

// For teachers' probabilities p_k with weights w_k that add up to W, and m = Σ w_k·p_k / W:
// Σ W·m·(log(W·m) − log s) = W·KL(m ‖ s) + W·log W.
TeacherTargets sum_softmax(const at::Tensor& teachers, const std::vector<double>& weights, double temperature) {
  TeacherTargets targets = avg_softmax(teachers, weights, temperature);
  targets.factor = weights.empty() ? count_of(teachers) : std::accumulate(weights.begin(), weights.end(), 0.0);
  targets.offset = temperature * temperature * targets.factor * std::log(targets.factor);
  return targets;
}

TeacherTargets avg_logits(const at::Tensor& teachers, const std::vector<double>& weights, double temperature) {
  at::Tensor logits = softened_logits(teachers, temperature);
  if (const at::Tensor column = relative_weights(weights, teachers); column.defined())
    logits = logits * column.unsqueeze(-1);
  return {.logits = logits.mean(0, /*keepdim=*/true), .weights = {}};
}

// Zhang et al., "Confidence-aware multi-teacher knowledge distillation", ICASSP 2022: (1 − the softmax over
// teachers of their cross-entropies) / (K − 1).
at::Tensor confidence_weights(const at::Tensor& logits, const at::Tensor& targets) {
  const at::Tensor entropy = -(targets * at::log_softmax(logits, -1)).sum(-1);
  return (1 - at::softmax(entropy, 0)) / (count_of(logits) - 1);
}

// Kwon et al., "Adaptive knowledge distillation based on entropy", ICASSP 2020: (1 − H_k / Σ H) / (K − 1).
at::Tensor entropy_weights(const at::Tensor& logits, const at::Tensor& /*targets*/) {
  // With e_j = e^(z_j − z_max) and s their sum over all classes but the largest, H = log(1 + s) + Σ e_j·(z_max − z_j) /
  // (1 + s): no term is negative, so that a sure teacher's small entropy is known to float32's relative precision.
  const at::Tensor below = logits.amax(-1, /*keepdim=*/true) - logits;
  const at::Tensor largest =
      at::arange(logits.size(-1), logits.options().dtype(at::kLong)) == logits.argmax(-1, /*keepdim=*/true);
  const at::Tensor e = at::where(largest, 0, below.neg().exp()), s = e.sum(-1);
  constexpr double kTiny = 1e-30;  // teachers without any entropy count the same
  const at::Tensor entropy = (s.log1p() + (e * below).sum(-1) / (1 + s)).clamp_min(kTiny);
  return (1 - entropy / entropy.sum(0)) / (count_of(logits) - 1);
}

}  // namespace

const Registry<CombinationRow>& combination_registry() {
  static const Registry<CombinationRow> registry(
      "way to combine teachers",
      {{"add-loss", "the sum of each teacher's loss", Combining::kLosses, add_loss},
       {"avg-loss", "the mean of each teacher's loss", Combining::kLosses, avg_loss, nullptr, /*averages=*/true},
       {"avg-softmax", "against the mean of the teachers' softened probabilities (for kd avg-loss's gradient)",
        Combining::kTargets, avg_softmax},
       {"sum-softmax", "against the sum of the teachers' softened probabilities (add-loss's gradient)",
        Combining::kSums, sum_softmax},
       {"avg-logits", "against the softmax of the teachers' mean logits", Combining::kTargets, avg_logits},
       {"ca-mkd", "each sample's mean by how well each teacher knows its label (Zhang et al., 2022)",
        Combining::kSamples, add_loss, confidence_weights},
       {"entropy", "each sample's mean by how sure each teacher is (Kwon et al., 2020)", Combining::kSamples, add_loss,
        entropy_weights}});
  return registry;
}

}  // namespace ekd

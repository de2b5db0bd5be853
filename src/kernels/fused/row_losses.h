// Losses of rows of logits with their gradients, a warp for each row: these numbers are so few that LibTorch's hundred
// operations on them would cost a step nothing but launches. A second kernel adds up the rows' values, in an order that
// is always the same; fixed point (totals.h) would not do, since a divergence may be of any size.
#pragma once

#include <cmath>

#include "kernels/fused/block.h"

namespace ekd {

// What `value` says of each class of a row, added up; every lane has the result, with the same bits.
EKD_TEAM_TEMPLATE
template <class Block, class Value>
EKD_HOST_DEVICE inline float row_sum(Block& block, int classes, const Value& value) {
  float sum = 0;
  for (int k = block.thread(); k < classes; k += kWarp) sum += value(k);
  for (int mask = kWarp / 2; mask > 0; mask /= 2) sum += block.exchange(sum, mask);
  return sum;
}

// The largest of them. It passes over NaN, which the sums beside it keep.
EKD_TEAM_TEMPLATE
template <class Block, class Value>
EKD_HOST_DEVICE inline float row_max(Block& block, int classes, const Value& value) {
  float largest = -INFINITY;
  for (int k = block.thread(); k < classes; k += kWarp) largest = fmaxf(largest, value(k));
  for (int mask = kWarp / 2; mask > 0; mask /= 2) largest = fmaxf(largest, block.exchange(largest, mask));
  return largest;
}

// log Σ exp of a row's logits in two parts, whose sum would lose the second where the first is large.
struct LogSum {
  float largest, rest;

  EKD_HOST_DEVICE float log_probability(float logit) const { return logit - largest - rest; }
};

EKD_TEAM_TEMPLATE
template <class Block, class Logit>
EKD_HOST_DEVICE inline LogSum row_log_sum(Block& block, int classes, const Logit& logit) {
  const float largest = row_max(block, classes, logit);
  return {largest, logf(row_sum(block, classes, [&](int k) { return expf(logit(k) - largest); }))};
}

// e^x − 1 − x for |x| ≤ 1, by the series of losses/exponentials.cpp.
EKD_HOST_DEVICE inline float exp_remainder(float x) {
  float series = 1;
  for (int n = 11; n >= 3; --n) series = series * x * (1.0f / n) + 1;
  return series * x * x * 0.5f;
}

// A row's mean over the classes of its mask; without a mask, over all.
EKD_TEAM_TEMPLATE
template <class Block>
EKD_HOST_DEVICE inline float row_mean(Block& block, int classes, const float* logits, const bool* mask) {
  const float sum = row_sum(block, classes, [&](int k) { return !mask || mask[k] ? logits[k] : 0; });
  if (!mask) return sum / static_cast<float>(classes);
  return sum / fmaxf(row_sum(block, classes, [&](int k) { return mask[k] ? 1.0f : 0.0f; }), 1);
}

// (logits − their mean) / temperature, of the mask's classes alone; the others' are `nothing`.
struct SoftenTask {
  const float* logits;  // [rows, classes]
  const bool* mask;     // [rows, classes]; null: all
  float* to;
  float inverse_temperature, nothing;
  int rows, classes;
};
struct SoftenKernel {
  static constexpr int kThreads = kWarp, kBlocksAtOnce = 16;
  SoftenTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const std::int64_t at = static_cast<std::int64_t>(block.x()) * task.classes;
    const float* logits = task.logits + at;
    const bool* mask = task.mask ? task.mask + at : nullptr;
    const float mean = row_mean(block, task.classes, logits, mask);
    for (int k = block.thread(); k < task.classes; k += kWarp)
      task.to[at + k] = !mask || mask[k] ? (logits[k] - mean) * task.inverse_temperature : task.nothing;
  }
};

// Σ over targets of weight · KL(softmax(target) ‖ softmax(softened student)), by the formulas of losses/divergence.cpp,
// which says why these. …_target, …_row: how far it is to the next target's numbers, or the next row's, 0 where they
// are the same. Gradients by the same logits are added up.
struct DivergenceTask {
  const float* student;  // [rows, classes] or [targets, rows, classes]
  std::int64_t student_target;
  const float* target;   // [targets, rows, classes]
  const float* weights;  // null: all 1
  std::int64_t weight_target, weight_row;
  const bool* mask;  // of classes, as in SoftenTask
  std::int64_t mask_target, mask_row;
  float inverse_temperature, nothing, value_scale, gradient_scale;
  float *values, *gradient;  // [rows]; as student
  int targets, rows, classes;
};
struct DivergenceKernel {
  static constexpr int kThreads = kWarp, kBlocksAtOnce = 16;
  DivergenceTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    constexpr float kLargestExponent = 60;
    const int row = block.x(), classes = task.classes;
    const std::int64_t first = static_cast<std::int64_t>(row) * classes;
    float value = 0;
    for (int t = 0; t < task.targets; ++t) {
      const std::int64_t at = first + t * task.student_target;
      const float* logits = task.student + at;
      const float* target = task.target + first + static_cast<std::int64_t>(t) * task.rows * classes;
      const bool* mask = task.mask ? task.mask + t * task.mask_target + row * task.mask_row : nullptr;
      const float centre = row_mean(block, classes, logits, mask);
      const auto student = [&](int k) {
        return !mask || mask[k] ? (logits[k] - centre) * task.inverse_temperature : task.nothing;
      };
      const LogSum student_sum = row_log_sum(block, classes, student);
      const LogSum target_sum = row_log_sum(block, classes, [&](int k) { return target[k]; });
      const auto log_p = [&](int k) { return target_sum.log_probability(target[k]); };
      const float mean = row_sum(block, classes, [&](int k) { return expf(log_p(k)) * (student(k) - target[k]); });
      const auto delta = [&](int k) { return student(k) - target[k] - mean; };
      const float ratio = row_max(block, classes, [&](int k) { return log_p(k) + delta(k); });
      const float excess = fmaxf(ratio - kLargestExponent, 0), share = expf(-excess);
      const float terms = row_sum(block, classes, [&](int k) {
        const float log_pk = log_p(k), d = delta(k), part = expf(log_pk) * share;
        return fabsf(d) <= 1 ? part * exp_remainder(d) : expf(log_pk + d - excess) - part * (d + 1);
      });
      const float divergence = excess + log1pf(terms + expm1f(-excess));
      const float weight = task.weights ? task.weights[t * task.weight_target + row * task.weight_row] : 1.0f;
      value += weight * divergence;
      const bool adds = t > 0 && task.student_target == 0;
      for (int k = block.thread(); k < classes; k += kWarp) {
        const float p = expf(log_p(k)), rest = delta(k) - divergence;
        const float slope = fabsf(rest) <= 1 ? p * expm1f(rest) : expf(student_sum.log_probability(student(k))) - p;
        float* to = task.gradient + at + k;
        *to = (adds ? *to : 0) + weight * task.gradient_scale * slope;
      }
    }
    if (block.thread() == 0) task.values[row] = value * task.value_scale;
  }
};

// −Σ t · log softmax(logits) with t = target_share · targets + floor: losses/classification.h.
struct CrossEntropyTask {
  const float *logits, *targets;  // [rows, classes]
  float target_share, floor, scale;
  float *values, *gradient;  // [rows], [rows, classes]
  int rows, classes;
};
struct CrossEntropyKernel {
  static constexpr int kThreads = kWarp, kBlocksAtOnce = 16;
  CrossEntropyTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const int row = block.x(), classes = task.classes;
    const std::int64_t at = static_cast<std::int64_t>(row) * classes;
    const float *logits = task.logits + at, *targets = task.targets + at;
    const auto smoothed = [&](int k) { return targets[k] * task.target_share + task.floor; };
    const LogSum log_sum = row_log_sum(block, classes, [&](int k) { return logits[k]; });
    const auto log_q = [&](int k) { return log_sum.log_probability(logits[k]); };
    const float total = row_sum(block, classes, smoothed);
    const float sum = row_sum(block, classes, [&](int k) { return smoothed(k) * log_q(k); });
    for (int k = block.thread(); k < classes; k += kWarp)
      task.gradient[at + k] = (expf(log_q(k)) * total - smoothed(k)) * task.scale;
    if (block.thread() == 0) task.values[row] = -sum * task.scale;
  }
};

// Σ over views of p · (log p − log clamp(mean of the views' p, 1e-7, 1)): losses/classification.h.
struct JensenShannonTask {
  const float* logits;  // [views, rows, classes]
  float scale;
  float* means;              // [rows, classes]: room for what a lane notes for itself
  float *values, *gradient;  // [rows]; as logits
  int views, rows, classes;
};
struct JensenShannonKernel {
  static constexpr int kThreads = kWarp, kBlocksAtOnce = 16;
  JensenShannonTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    constexpr float kLeast = 1e-7f;
    const int row = block.x(), classes = task.classes;
    const std::int64_t first = static_cast<std::int64_t>(row) * classes;
    const std::int64_t view = static_cast<std::int64_t>(task.rows) * classes;
    float* means = task.means + first;
    // First log p stands where the gradient will be.
    for (int k = block.thread(); k < classes; k += kWarp) means[k] = 0;
    for (int v = 0; v < task.views; ++v) {
      const float* logits = task.logits + v * view + first;
      const LogSum log_sum = row_log_sum(block, classes, [&](int k) { return logits[k]; });
      for (int k = block.thread(); k < classes; k += kWarp) {
        const float log_p = log_sum.log_probability(logits[k]);
        task.gradient[v * view + first + k] = log_p;
        means[k] += expf(log_p) / static_cast<float>(task.views);
      }
    }
    float value = 0;
    for (int v = 0; v < task.views; ++v) {
      float* log_p = task.gradient + v * view + first;
      const auto term = [&](int k) { return expf(log_p[k]) * (log_p[k] - logf(fminf(fmaxf(means[k], kLeast), 1))); };
      value += row_sum(block, classes, term);
      // By log p: the term, and p, which the mean's own slope takes away again where it is not clamped.
      const auto slope = [&](int k) { return term(k) + (means[k] >= kLeast && means[k] <= 1 ? 0 : expf(log_p[k])); };
      const float total = row_sum(block, classes, slope);
      for (int k = block.thread(); k < classes; k += kWarp) log_p[k] = (slope(k) - expf(log_p[k]) * total) * task.scale;
    }
    if (block.thread() == 0) task.values[row] = value * task.scale;
  }
};

// The sum of the rows' values.
struct RowTotalTask {
  const float* values;
  float* total;
  int rows;
};
struct RowTotalKernel {
  static constexpr int kThreads = kWarp, kBlocksAtOnce = 1;
  RowTotalTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const float total = row_sum(block, task.rows, [&](int row) { return task.values[row]; });
    if (block.thread() == 0) *task.total = total;
  }
};

template <class Run>
auto run_fused(const SoftenTask& task, const Run& run) {
  return run(SoftenKernel{task}, LaunchShape{task.rows, 1, 1, kWarp, 0});
}
template <class Run>
auto run_fused(const DivergenceTask& task, const Run& run) {
  return run(DivergenceKernel{task}, LaunchShape{task.rows, 1, 1, kWarp, 0});
}
template <class Run>
auto run_fused(const CrossEntropyTask& task, const Run& run) {
  return run(CrossEntropyKernel{task}, LaunchShape{task.rows, 1, 1, kWarp, 0});
}
template <class Run>
auto run_fused(const JensenShannonTask& task, const Run& run) {
  return run(JensenShannonKernel{task}, LaunchShape{task.rows, 1, 1, kWarp, 0});
}
template <class Run>
auto run_fused(const RowTotalTask& task, const Run& run) {
  return run(RowTotalKernel{task}, LaunchShape{1, 1, 1, kWarp, 0});
}

}  // namespace ekd

// What belongs to a whole network once a step: bf16 copies of the parameters, gradients out of the fixed-point sums,
// and the running statistics; and the optimiser's step and the epoch's sums. Parameters lie one after another in one
// buffer, and so do their sums and gradients.
#pragma once

#include "kernels/fused/block.h"
#include "kernels/fused/totals.h"

namespace ekd {

constexpr int kParameterThreads = 256;

// Calls work(i) for this thread's share of the numbers 0, …, count - 1.
EKD_TEAM_TEMPLATE
template <class Block, class Work>
EKD_HOST_DEVICE inline void for_each_number(Block& block, std::int64_t count, const Work& work) {
  const std::int64_t step = static_cast<std::int64_t>(block.blocks_x()) * block.threads();
  for (std::int64_t i = static_cast<std::int64_t>(block.x()) * block.threads() + block.thread(); i < count; i += step)
    work(i);
}

struct RoundTask {
  const float* from;
  Bf16* to;
  std::int64_t count;
};
struct RoundKernel {
  static constexpr int kThreads = kParameterThreads, kBlocksAtOnce = 4;
  RoundTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    for_each_number(block, task.count, [&](std::int64_t i) { task.to[i] = from_float<Bf16>(task.from[i]); });
  }
};

// The normalisations of a pass, in the arguments of one launch.
constexpr int kMostNorms = 36;
struct NormTable {
  struct Row {
    Norm norm;
    float *running_mean, *running_var;  // moved, in the forward pass
    double unbiased;                    // n / (n - 1) for n numbers of a channel
    float *grad_weight, *grad_bias;     // written, in the backward pass
  };
  Row rows[kMostNorms];
  int count;
};

struct RunningTask {
  NormTable norms;
  double momentum;
};
struct RunningKernel {
  static constexpr int kThreads = kParameterThreads, kBlocksAtOnce = 4;
  RunningTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const NormTable::Row& row = task.norms.rows[block.x()];
    const Norm& norm = row.norm;
    for (int c = block.thread(); c < norm.channels; c += block.threads()) {
      double mean = from_fixed(norm.moments[kMomentSum * norm.channels + c], kMomentsOne, norm.share);
      double var = from_fixed(norm.moments[kMomentSquare * norm.channels + c], kMomentsOne, norm.share) - mean * mean;
      if (var < 0) var = 0;
      if (norm.moments[kMomentBad * norm.channels + c] != 0) mean = var = NAN;
      row.running_mean[c] = moved_running(row.running_mean[c], task.momentum, mean);
      row.running_var[c] = moved_running(row.running_var[c], task.momentum, var * row.unbiased);
    }
  }
};

struct NormGradientKernel {
  static constexpr int kThreads = kParameterThreads, kBlocksAtOnce = 4;
  NormTable norms;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const NormTable::Row& row = norms.rows[block.x()];
    for (int c = block.thread(); c < row.norm.channels; c += block.threads()) {
      const NormSlope slope = norm_slope(row.norm, c);
      row.grad_weight[c] = slope.grad_weight;
      row.grad_bias[c] = slope.grad_bias;
    }
  }
};

// Sums in fixed point to gradients.
struct GradientTask {
  const Fixed *sums, *bad;
  float* to;
  std::int64_t count;
};
struct GradientKernel {
  static constexpr int kThreads = kParameterThreads, kBlocksAtOnce = 4;
  GradientTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const float one = *task.bad != 0 ? NAN : 1 / kGradientOne;
    for_each_number(block, task.count, [&](std::int64_t i) { task.to[i] = static_cast<float>(task.sums[i]) * one; });
  }
};

// Stochastic gradient descent, train/optimizer.h.
struct SgdTask {
  float *parameters, *momenta;  // momenta null: momentum 0
  const float *gradients, *rate;
  float momentum, weight_decay;
  bool nesterov;
  std::int64_t count;
};
struct SgdKernel {
  static constexpr int kThreads = kParameterThreads, kBlocksAtOnce = 4;
  SgdTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const float rate = *task.rate;
    for_each_number(block, task.count, [&](std::int64_t i) {
      const float parameter = task.parameters[i];
      float gradient = task.gradients[i] + task.weight_decay * parameter;
      if (task.momenta) {
        const float moved = task.momentum * task.momenta[i] + gradient;
        task.momenta[i] = moved;
        gradient = task.nesterov ? gradient + task.momentum * moved : moved;
      }
      task.parameters[i] = parameter - rate * gradient;
    });
  }
};

// A batch's loss terms to an epoch's sums, train/epoch_sums.h.
constexpr int kMostTerms = 16;
struct TermsTask {
  const float* terms[kMostTerms];
  int count;
  double* sums;          // [count]
  long long* first_bad;  // [count]: the first step at which a term was no finite number, or -1
  const long long* step;
  double samples;
};
struct TermsKernel {
  static constexpr int kThreads = kWarp, kBlocksAtOnce = 1;
  TermsTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const int i = block.thread();
    if (i >= task.count) return;
    const float value = *task.terms[i];
    task.sums[i] += static_cast<double>(value) * task.samples;
    if (!(fabsf(value) <= 3.4028234663852886e38f) && task.first_bad[i] < 0) task.first_bad[i] = *task.step;
  }
};

inline LaunchShape parameter_shape(std::int64_t count) {
  constexpr std::int64_t kMostBlocks = 1056;
  const std::int64_t blocks = (count + kParameterThreads - 1) / kParameterThreads;
  return {static_cast<int>(blocks < kMostBlocks ? blocks : kMostBlocks), 1, 1, kParameterThreads, 0};
}

template <class Run>
auto run_fused(const RoundTask& task, const Run& run) {
  return run(RoundKernel{task}, parameter_shape(task.count));
}
template <class Run>
auto run_fused(const GradientTask& task, const Run& run) {
  return run(GradientKernel{task}, parameter_shape(task.count));
}
template <class Run>
auto run_fused(const SgdTask& task, const Run& run) {
  return run(SgdKernel{task}, parameter_shape(task.count));
}
template <class Run>
auto run_fused(const TermsTask& task, const Run& run) {
  return run(TermsKernel{task}, LaunchShape{1, 1, 1, kWarp, 0});
}
template <class Run>
auto run_fused(const RunningTask& task, const Run& run) {
  return run(RunningKernel{task}, LaunchShape{task.norms.count, 1, 1, kParameterThreads, 0});
}
template <class Run>
auto run_fused(const NormTable& norms, const Run& run) {
  return run(NormGradientKernel{norms}, LaunchShape{norms.count, 1, 1, kParameterThreads, 0});
}

}  // namespace ekd

// How batch normalisation's CUDA kernels add up: the sums of a block's threads, in shared memory, to partial sums;
// these to totals; the totals to what belongs to a channel. The order is fixed, without atomics: two runs give the same
// bits.
#pragma once

#include "kernels/bn_relu/bn_relu_passes.h"

namespace ekd {

// Halving: of `count` numbers those from half_of(count) on are added to the first ones, until one is left.
EKD_HOST_DEVICE inline int half_of(int count) { return (count + 1) / 2; }

// The sums of a block's threads.
template <int V>
struct BnReluShared {
  float first[V][kBnReluThreads], second[V][kBnReluThreads];

  EKD_HOST_DEVICE void put(int thread, const BnReluSums<V>& sums) {
#pragma unroll
    for (int v = 0; v < V; ++v) {
      first[v][thread] = sums.first[v];
      second[v][thread] = sums.second[v];
    }
  }
  EKD_HOST_DEVICE void add(int thread, int other) {
#pragma unroll
    for (int v = 0; v < V; ++v) {
      first[v][thread] += first[v][other];
      second[v][thread] += second[v][other];
    }
  }
  // The column's sums to the block's partial sums.
  EKD_HOST_DEVICE void take(int thread, int block, int channels, int channel, float* partials) const {
    Lanes<float, V> a, b;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      a.at[v] = first[v][thread];
      b.at[v] = second[v][thread];
    }
    float* out = partials + std::int64_t{2} * block * channels + channel;
    store_lanes<V>(a, out);
    store_lanes<V>(b, out + channels);
  }
};

struct ChannelTotals {
  double first, second;
};

// The part of a channel's totals that lane `lane` of kBnReluSumLanes adds up.
EKD_HOST_DEVICE inline ChannelTotals lane_totals(const float* partials, const BnReluGrid& grid, int channel, int lane) {
  ChannelTotals totals{};
#pragma unroll 4
  for (int block = lane; block < grid.blocks; block += kBnReluSumLanes) {
    const float* in = partials + std::int64_t{2} * block * grid.channels + channel;
    totals.first += in[0];
    totals.second += in[grid.channels];
  }
  return totals;
}

// What a channel's totals say about the batch: for the forward pass,
template <class T>
EKD_HOST_DEVICE inline void finish_channel(const BnReluForwardTask& task, int c, ChannelTotals totals) {
  const auto n = static_cast<double>(task.grid.rows);
  const double origin = to_float(static_cast<const T*>(task.x)[c]);
  const ChannelMoments moments = channel_moments(origin, totals.first, totals.second, n);
  const auto mean = static_cast<float>(moments.mean);
  const float invstd = channel_invstd(moments.var, task.eps);
  task.mean[c] = mean;
  task.invstd[c] = invstd;
  task.running_mean[c] = moved_running(task.running_mean[c], task.momentum, moments.mean);
  task.running_var[c] = moved_running(task.running_var[c], task.momentum, unbiased_variance(moments.var, n));
  const BnAffine affine = channel_affine(task.weight[c], task.bias[c], mean, invstd);
  task.scale[c] = affine.scale;
  task.shift[c] = affine.shift;
}

// and for the backward pass.
template <class T>
EKD_HOST_DEVICE inline void finish_channel(const BnReluBackwardTask& task, int c, ChannelTotals totals) {
  const float mean = task.mean[c], invstd = task.invstd[c];
  const BnAffine affine = channel_affine(task.weight[c], task.bias[c], mean, invstd);
  const ChannelBackward backward =
      channel_backward(totals.first, totals.second, affine.scale, mean, invstd, static_cast<double>(task.grid.rows));
  task.grad_weight[c] = backward.grad_weight;
  task.grad_bias[c] = backward.grad_bias;
  task.scale[c] = affine.scale;
  task.shift[c] = affine.shift;
  task.by_x[c] = backward.gradient.by_x;
  task.constant[c] = backward.gradient.constant;
}

// Inference: by the running statistics.
EKD_HOST_DEVICE inline void running_channel(const BnReluForwardTask& task, int c) {
  const float invstd = channel_invstd(task.running_var[c], task.eps);
  const BnAffine affine = channel_affine(task.weight[c], task.bias[c], task.running_mean[c], invstd);
  task.scale[c] = affine.scale;
  task.shift[c] = affine.shift;
}

}  // namespace ekd

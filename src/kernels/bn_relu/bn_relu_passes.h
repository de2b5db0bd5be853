// Batch normalisation's CUDA kernels but for CUDA itself, so that tests without a GPU run them: the arguments, how a
// tensor is cut among blocks and threads, and what one thread does, with the numbers in each of the four passes over a
// tensor, and with the sums: those of a block's threads in shared memory, partial sums, totals, what belongs to a
// channel. Sums are taken in a fixed order, without atomics: two runs give the same bits.
//
// Tensors are [rows, channels], float32 or bfloat16, values for each channel float32 [channels]. All of it lies on the
// device, aligned as the grid's vector wants it.
#pragma once

#include <cstdint>

#include "ekd/kernels/host_device.h"
#include "kernels/bn_relu/bn_relu_element.h"

namespace ekd {

constexpr int kBnReluThreads = 256;          // in a block
constexpr int kBnReluMaxChannels = 1 << 16;  // keeps tiles within CUDA's grids
constexpr int kBnReluSumChannels = 8;        // channels of a block that totals partial sums: one sector of memory
constexpr int kBnReluSumLanes = kBnReluThreads / kBnReluSumChannels;

struct BnReluGrid {
  std::int64_t rows, rows_per_block;
  int channels;
  int vector;  // numbers a thread reads at once; divides channels
  int width;   // vectors of a row that a block covers
  int tiles;   // blocks side by side that cover a row
  int pass;    // rows a block covers at once
  int blocks;  // blocks one below the other
};

// The widest vector, at most 16 bytes, that channels and addresses allow: `data` is the bitwise or of the addresses of
// the tensors, `floats` of those of the float32 values for each channel, which are read in 16 bytes at most.
inline int bn_relu_vector(int channels, int bytes_per_number, std::uintptr_t data, std::uintptr_t floats) {
  const auto fits = [&](int vector) {
    const std::uintptr_t float_bytes = vector < 4 ? 4 * vector : 16;
    return channels % vector == 0 && data % static_cast<std::uintptr_t>(vector * bytes_per_number) == 0 &&
           floats % float_bytes == 0;
  };
  int vector = 16 / bytes_per_number;
  while (vector > 1 && !fits(vector)) vector /= 2;
  return vector;
}

// rows >= 1, 1 <= channels <= kBnReluMaxChannels.
inline BnReluGrid bn_relu_grid(std::int64_t rows, int channels, int vector) {
  // Small tensors are spread over as many blocks as a large GPU has processors; larger ones give a thread a few rows
  // to read at once; the largest fill the processors four times, so that there are few partial sums to total.
  constexpr std::int64_t kProcessors = 132, kMostBlocks = 4 * kProcessors, kPasses = 4;
  const auto parts = [](std::int64_t whole, std::int64_t part) { return (whole + part - 1) / part; };
  BnReluGrid grid{};
  grid.rows = rows;
  grid.channels = channels;
  grid.vector = vector;
  const int columns = channels / vector;
  grid.tiles = static_cast<int>(parts(columns, kBnReluThreads));
  grid.width = static_cast<int>(parts(columns, grid.tiles));
  grid.pass = kBnReluThreads / grid.width;
  const std::int64_t passes = parts(rows, grid.pass);
  const std::int64_t spread = parts(passes, kProcessors), least = spread < kPasses ? spread : kPasses;
  const std::int64_t full = parts(passes, kMostBlocks);
  grid.rows_per_block = grid.pass * (full > least ? full : least);
  grid.blocks = static_cast<int>(parts(rows, grid.rows_per_block));
  return grid;
}

// Floats of partial sums: [blocks, 2, channels].
inline std::int64_t bn_relu_partials(const BnReluGrid& grid) { return std::int64_t{2} * grid.blocks * grid.channels; }

// What one thread of block (block, tile) works on: rows begin, begin + step, … below end, and the channels from
// `channel` on. Threads left over have no rows and channel 0.
struct BnReluPlace {
  std::int64_t begin, end;
  int step;
  int channel;
  int row;  // within a pass
  bool works;
};
EKD_HOST_DEVICE inline BnReluPlace bn_relu_place(const BnReluGrid& grid, int block, int tile, int thread) {
  const int row = thread / grid.width, column = tile * grid.width + thread % grid.width;
  const std::int64_t first = block * grid.rows_per_block, after = first + grid.rows_per_block;
  BnReluPlace place{};
  place.step = grid.pass;
  place.row = row;
  place.works = row < grid.pass && column < grid.channels / grid.vector;
  place.end = after < grid.rows ? after : grid.rows;
  place.begin = place.works ? first + row : place.end;
  place.channel = place.works ? column * grid.vector : 0;
  return place;
}

struct BnReluForwardTask {
  BnReluGrid grid;
  bool bf16;
  const void *x, *residual;  // residual may be null
  void* y;
  const float *weight, *bias;
  double eps, momentum;
  float *running_mean, *running_var;  // inference only reads them
  float *mean, *invstd;               // of the batch; null in inference
  float *scale, *shift;               // scratch
  float* partials;                    // scratch, [blocks, 2, channels]; null in inference
};

struct BnReluBackwardTask {
  BnReluGrid grid;
  bool bf16;
  const void *grad, *x, *y;  // y: the forward's result where it had a residual, else null
  void *grad_x, *masked;     // masked: the residual's gradient where there is y, else null
  const float *weight, *bias, *mean, *invstd;
  float *grad_weight, *grad_bias;
  float *scale, *shift, *by_x, *constant;  // scratch
  float* partials;                         // scratch, [blocks, 2, channels]
};

// Each returns a cudaError_t; 0 is success. Nothing waits for the device.
int launch_bn_relu_forward(const BnReluForwardTask& task, CudaStream stream);
int launch_bn_relu_inference(const BnReluForwardTask& task, CudaStream stream);
int launch_bn_relu_backward(const BnReluBackwardTask& task, CudaStream stream);

// V numbers that are read and written at once, 16 bytes in one instruction.
template <class T, int V>
struct alignas(V * sizeof(T) < 16 ? V * sizeof(T) : 16) Lanes {
  T at[V];
};
template <int V, class T>
EKD_HOST_DEVICE inline Lanes<T, V> load_lanes(const T* p) {
  return *reinterpret_cast<const Lanes<T, V>*>(p);
}
template <int V, class T>
EKD_HOST_DEVICE inline void store_lanes(const Lanes<T, V>& lanes, T* p) {
  *reinterpret_cast<Lanes<T, V>*>(p) = lanes;
}

// Takes `pass` down the rows of a place. Several rows are loaded before the first is worked on, so that
// their latencies overlap. The loops are not unrolled: nvcc would compute how often they run by slow 64-bit divisions.
template <int kAtOnce, class Pass>
EKD_HOST_DEVICE inline void each_row(const BnReluPlace& place, int channels, Pass& pass) {
  const std::int64_t stride = std::int64_t{place.step} * channels;
  std::int64_t row = place.begin, at = row * channels + place.channel;
#pragma unroll 1
  for (; row + (kAtOnce - 1) * std::int64_t{place.step} < place.end; row += kAtOnce * std::int64_t{place.step}) {
    typename Pass::Loaded loaded[kAtOnce];
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) loaded[k] = pass.load(at + k * stride);
#pragma unroll
    for (int k = 0; k < kAtOnce; ++k) pass.step(loaded[k], at + k * stride);
    at += kAtOnce * stride;
  }
#pragma unroll 1
  for (; row < place.end; row += place.step, at += stride) pass.step(pass.load(at), at);
}

// Two sums for each of a thread's channels.
template <int V>
struct BnReluSums {
  float first[V], second[V];
};

// Sums of x - origin and (x - origin)²; the origin is the first pixel, since a mean far from 0 would eat the digits of
// the variance.
template <class T, int V>
struct MomentsPass {
  struct Loaded {
    Lanes<T, V> x;
  };
  const T* x;
  Lanes<T, V> origin;
  BnReluSums<V> sums{};

  EKD_HOST_DEVICE MomentsPass(const BnReluForwardTask& task, const BnReluPlace& place)
      : x(static_cast<const T*>(task.x)), origin(load_lanes<V>(x + place.channel)) {}
  EKD_HOST_DEVICE Loaded load(std::int64_t at) const { return {load_lanes<V>(x + at)}; }
  EKD_HOST_DEVICE void step(const Loaded& loaded, std::int64_t) {
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const float moved = to_float(loaded.x.at[v]) - to_float(origin.at[v]);
      sums.first[v] += moved;
      sums.second[v] = fmaf(moved, moved, sums.second[v]);
    }
  }
};

// y = max(x · scale + shift + residual, 0).
template <class T, int V, bool kResidual>
struct ForwardPass {
  struct Loaded {
    Lanes<T, V> x, residual;
  };
  const T *x, *residual;
  T* y;
  Lanes<float, V> scale, shift;

  EKD_HOST_DEVICE ForwardPass(const BnReluForwardTask& task, const BnReluPlace& place)
      : x(static_cast<const T*>(task.x)),
        residual(static_cast<const T*>(task.residual)),
        y(static_cast<T*>(task.y)),
        scale(load_lanes<V>(task.scale + place.channel)),
        shift(load_lanes<V>(task.shift + place.channel)) {}
  EKD_HOST_DEVICE Loaded load(std::int64_t at) const {
    Loaded loaded{};
    loaded.x = load_lanes<V>(x + at);
    if constexpr (kResidual) loaded.residual = load_lanes<V>(residual + at);
    return loaded;
  }
  EKD_HOST_DEVICE void step(const Loaded& loaded, std::int64_t at) const {
    Lanes<T, V> out;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      float value = bn_normalised(to_float(loaded.x.at[v]), {scale.at[v], shift.at[v]});
      if constexpr (kResidual) value += to_float(loaded.residual.at[v]);
      out.at[v] = from_float<T>(rectified(value));
    }
    store_lanes<V>(out, y + at);
  }
};

// Sums of g and g · (x - mean), where g is the gradient masked by ReLU. With a residual the mask comes from the result
// and g, the residual's gradient, is written; else from x, computed again.
template <class T, int V, bool kResidual>
struct BackwardSumsPass {
  struct Loaded {
    Lanes<T, V> grad, x, y;
  };
  const T *grad, *x, *y;
  T* masked;
  Lanes<float, V> mean, scale{}, shift{};
  BnReluSums<V> sums{};

  EKD_HOST_DEVICE BackwardSumsPass(const BnReluBackwardTask& task, const BnReluPlace& place)
      : grad(static_cast<const T*>(task.grad)),
        x(static_cast<const T*>(task.x)),
        y(static_cast<const T*>(task.y)),
        masked(static_cast<T*>(task.masked)),
        mean(load_lanes<V>(task.mean + place.channel)) {
    if constexpr (!kResidual) {
      const auto weight = load_lanes<V>(task.weight + place.channel), bias = load_lanes<V>(task.bias + place.channel);
      const auto invstd = load_lanes<V>(task.invstd + place.channel);
      for (int v = 0; v < V; ++v) {
        const auto affine = channel_affine(weight.at[v], bias.at[v], mean.at[v], invstd.at[v]);
        scale.at[v] = affine.scale;
        shift.at[v] = affine.shift;
      }
    }
  }
  EKD_HOST_DEVICE Loaded load(std::int64_t at) const {
    Loaded loaded{};
    loaded.grad = load_lanes<V>(grad + at);
    loaded.x = load_lanes<V>(x + at);
    if constexpr (kResidual) loaded.y = load_lanes<V>(y + at);
    return loaded;
  }
  EKD_HOST_DEVICE void step(const Loaded& loaded, std::int64_t at) {
    Lanes<T, V> out;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const float value = to_float(loaded.x.at[v]);
      float result;
      if constexpr (kResidual)
        result = to_float(loaded.y.at[v]);
      else
        result = bn_normalised(value, {scale.at[v], shift.at[v]});
      const float g = relu_masked(result, to_float(loaded.grad.at[v]));
      out.at[v] = from_float<T>(g);
      sums.first[v] += g;
      sums.second[v] = fmaf(g, value - mean.at[v], sums.second[v]);
    }
    if constexpr (kResidual) store_lanes<V>(out, masked + at);
  }
};

// The gradient by x, from the masked gradient where there was a residual, else from the gradient.
template <class T, int V, bool kResidual>
struct BackwardInputPass {
  struct Loaded {
    Lanes<T, V> grad, x;
  };
  const T *grad, *x;
  T* grad_x;
  Lanes<float, V> scale, shift, by_x, constant;

  EKD_HOST_DEVICE BackwardInputPass(const BnReluBackwardTask& task, const BnReluPlace& place)
      : grad(static_cast<const T*>(kResidual ? task.masked : task.grad)),
        x(static_cast<const T*>(task.x)),
        grad_x(static_cast<T*>(task.grad_x)),
        scale(load_lanes<V>(task.scale + place.channel)),
        shift(load_lanes<V>(task.shift + place.channel)),
        by_x(load_lanes<V>(task.by_x + place.channel)),
        constant(load_lanes<V>(task.constant + place.channel)) {}
  EKD_HOST_DEVICE Loaded load(std::int64_t at) const { return {load_lanes<V>(grad + at), load_lanes<V>(x + at)}; }
  EKD_HOST_DEVICE void step(const Loaded& loaded, std::int64_t at) const {
    Lanes<T, V> out;
#pragma unroll
    for (int v = 0; v < V; ++v) {
      const float value = to_float(loaded.x.at[v]);
      float g = to_float(loaded.grad.at[v]);
      if constexpr (!kResidual) g = relu_masked(bn_normalised(value, {scale.at[v], shift.at[v]}), g);
      out.at[v] = from_float<T>(bn_input_gradient(g, value, scale.at[v], {by_x.at[v], constant.at[v]}));
    }
    store_lanes<V>(out, grad_x + at);
  }
};

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

// From a channel's totals to what the forward pass needs: the batch's statistics, the running ones, scale and shift.
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

// The same for the backward pass: gradients by weight and bias, coefficients of the gradient by x.
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

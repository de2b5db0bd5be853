// The arguments of batch normalisation's CUDA kernels. Tensors are [rows, channels], float32 or bfloat16, values for
// each channel float32 [channels]. All of it lies on the device, aligned as the grid's vector wants it.
#pragma once

#include <cstdint>

#include "ekd/kernels/host_device.h"

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

}  // namespace ekd

// CUDA driver of batch normalisation with residual and ReLU: three launches forward (sums, statistics, result), three
// backward (sums, coefficients, gradient), two in inference.
#include <cuda_runtime.h>

#include "kernels/bn_relu/bn_relu_passes.h"

namespace ekd {
namespace {

// Rows that a thread reads before it works on them: what fits into registers beside two or three blocks on a processor.
constexpr int kForwardRows = 4, kBackwardRows = 2;

__device__ BnReluPlace place_of(const BnReluGrid& grid) {
  return bn_relu_place(grid, static_cast<int>(blockIdx.x), static_cast<int>(blockIdx.y), static_cast<int>(threadIdx.x));
}

// All threads of the block call it.
template <int V>
__device__ void store_partials(const BnReluGrid& grid, const BnReluPlace& place, const BnReluSums<V>& sums,
                               float* partials) {
  __shared__ BnReluShared<V> shared;
  const int thread = static_cast<int>(threadIdx.x);
  shared.put(thread, sums);
  for (int rows = grid.pass; rows > 1; rows = half_of(rows)) {
    __syncthreads();
    if (place.row + half_of(rows) < rows) shared.add(thread, thread + half_of(rows) * grid.width);
  }
  // What a thread takes it has added up itself.
  if (place.works && place.row == 0)
    shared.take(thread, static_cast<int>(blockIdx.x), grid.channels, place.channel, partials);
}

template <class T, int V>
__global__ void __launch_bounds__(kBnReluThreads) moments_kernel(BnReluForwardTask task) {
  const BnReluPlace place = place_of(task.grid);
  MomentsPass<T, V> pass(task, place);
  each_row<kForwardRows>(place, task.grid.channels, pass);
  store_partials(task.grid, place, pass.sums, task.partials);
}

template <class T, int V, bool kResidual>
__global__ void __launch_bounds__(kBnReluThreads) forward_kernel(BnReluForwardTask task) {
  const BnReluPlace place = place_of(task.grid);
  ForwardPass<T, V, kResidual> pass(task, place);
  each_row<kForwardRows>(place, task.grid.channels, pass);
}

template <class T, int V, bool kResidual>
__global__ void __launch_bounds__(kBnReluThreads) backward_sums_kernel(BnReluBackwardTask task) {
  const BnReluPlace place = place_of(task.grid);
  BackwardSumsPass<T, V, kResidual> pass(task, place);
  each_row<kBackwardRows>(place, task.grid.channels, pass);
  store_partials(task.grid, place, pass.sums, task.partials);
}

template <class T, int V, bool kResidual>
__global__ void __launch_bounds__(kBnReluThreads) backward_input_kernel(BnReluBackwardTask task) {
  const BnReluPlace place = place_of(task.grid);
  BackwardInputPass<T, V, kResidual> pass(task, place);
  each_row<kBackwardRows>(place, task.grid.channels, pass);
}

// Totals of a few neighbouring channels in each block, by kBnReluSumLanes threads a channel.
template <class T, class Task>
__global__ void __launch_bounds__(kBnReluThreads) totals_kernel(Task task) {
  __shared__ ChannelTotals shared[kBnReluThreads];
  const int thread = static_cast<int>(threadIdx.x), lane = thread / kBnReluSumChannels;
  const int channel = static_cast<int>(blockIdx.x) * kBnReluSumChannels + thread % kBnReluSumChannels;
  const bool works = channel < task.grid.channels;
  shared[thread] = works ? lane_totals(task.partials, task.grid, channel, lane) : ChannelTotals{};
  for (int lanes = kBnReluSumLanes; lanes > 1; lanes = half_of(lanes)) {
    __syncthreads();
    if (lane + half_of(lanes) < lanes) {
      const ChannelTotals other = shared[thread + half_of(lanes) * kBnReluSumChannels];
      shared[thread].first += other.first;
      shared[thread].second += other.second;
    }
  }
  if (works && lane == 0) finish_channel<T>(task, channel, shared[thread]);
}

__global__ void __launch_bounds__(kBnReluThreads) running_kernel(BnReluForwardTask task) {
  const int channel = static_cast<int>(blockIdx.x) * kBnReluThreads + static_cast<int>(threadIdx.x);
  if (channel < task.grid.channels) running_channel(task, channel);
}

dim3 blocks_of(const BnReluGrid& grid) {
  return {static_cast<unsigned>(grid.blocks), static_cast<unsigned>(grid.tiles)};
}
unsigned parts(int channels, int part) { return static_cast<unsigned>((channels + part - 1) / part); }

template <class T, class Task>
void launch_totals(const Task& task, CudaStream stream) {
  totals_kernel<T><<<parts(task.grid.channels, kBnReluSumChannels), kBnReluThreads, 0, stream>>>(task);
}

template <class T, int V>
struct Inference {
  static void launch(const BnReluForwardTask& task, CudaStream stream) {
    running_kernel<<<parts(task.grid.channels, kBnReluThreads), kBnReluThreads, 0, stream>>>(task);
    result(task, stream);
  }
  static void result(const BnReluForwardTask& task, CudaStream stream) {
    if (task.residual)
      forward_kernel<T, V, true><<<blocks_of(task.grid), kBnReluThreads, 0, stream>>>(task);
    else
      forward_kernel<T, V, false><<<blocks_of(task.grid), kBnReluThreads, 0, stream>>>(task);
  }
};

template <class T, int V>
struct Forward {
  static void launch(const BnReluForwardTask& task, CudaStream stream) {
    moments_kernel<T, V><<<blocks_of(task.grid), kBnReluThreads, 0, stream>>>(task);
    launch_totals<T>(task, stream);
    Inference<T, V>::result(task, stream);
  }
};

template <class T, int V>
struct Backward {
  static void launch(const BnReluBackwardTask& task, CudaStream stream) {
    const dim3 blocks = blocks_of(task.grid);
    if (task.y) {
      backward_sums_kernel<T, V, true><<<blocks, kBnReluThreads, 0, stream>>>(task);
      launch_totals<T>(task, stream);
      backward_input_kernel<T, V, true><<<blocks, kBnReluThreads, 0, stream>>>(task);
    } else {
      backward_sums_kernel<T, V, false><<<blocks, kBnReluThreads, 0, stream>>>(task);
      launch_totals<T>(task, stream);
      backward_input_kernel<T, V, false><<<blocks, kBnReluThreads, 0, stream>>>(task);
    }
  }
};

template <template <class, int> class Kernels, class Task>
int launch(const Task& task, CudaStream stream) {
  const int vector = task.grid.vector;
  if (task.bf16) {
    const auto kernels = vector == 8   ? Kernels<Bf16, 8>::launch
                         : vector == 4 ? Kernels<Bf16, 4>::launch
                         : vector == 2 ? Kernels<Bf16, 2>::launch
                                       : Kernels<Bf16, 1>::launch;
    kernels(task, stream);
  } else {
    const auto kernels = vector == 4   ? Kernels<float, 4>::launch
                         : vector == 2 ? Kernels<float, 2>::launch
                                       : Kernels<float, 1>::launch;
    kernels(task, stream);
  }
  return cudaGetLastError();
}

}  // namespace

int launch_bn_relu_forward(const BnReluForwardTask& task, CudaStream stream) { return launch<Forward>(task, stream); }
int launch_bn_relu_inference(const BnReluForwardTask& task, CudaStream stream) {
  return launch<Inference>(task, stream);
}
int launch_bn_relu_backward(const BnReluBackwardTask& task, CudaStream stream) {
  return launch<Backward>(task, stream);
}

}  // namespace ekd

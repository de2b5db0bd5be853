// CUDA driver of AugMix: one block an image, its bytes and tables in shared memory.
#include <cuda_runtime.h>

#include "kernels/augmix/augmix_task.h"

namespace ekd {
namespace {

constexpr int kThreads = 256;

struct BlockTeam {
  __device__ int rank() const { return static_cast<int>(threadIdx.x); }
  __device__ int size() const { return kThreads; }
  __device__ void sync() const { __syncthreads(); }
  __device__ void increment(int* counter) const { atomicAdd(counter, 1); }
};

template <class T>
__global__ void __launch_bounds__(kThreads) augmix_kernel(AugmixTask task) {
  extern __shared__ std::uint8_t buffers[];
  __shared__ AugmixScratch scratch;
  __shared__ NormaliseTable table;
  for (int c = 0; c < kMaxChannels; ++c)
    for (int value = static_cast<int>(threadIdx.x); value < kByteValues; value += kThreads)
      table.value[c][value] = normalise(static_cast<std::uint8_t>(value), task.scale.mean[c], task.scale.std[c]);
  // The first barrier inside comes before the table's first use.
  const std::int64_t b = blockIdx.x;
  float* sums = task.sums + b * task.shape.channels * task.shape.pixels();
  augmix_image<T>(task, b, buffers, sums, scratch, table, BlockTeam{});
}

template <class T>
int launch(const AugmixTask& task, CudaStream stream) {
  const int bytes = kAugmixBuffers * task.shape.channels * task.shape.pixels();
  constexpr int kWithoutAsking = 32 * 1024;  // dynamic bytes that always fit beside the static ones
  if (bytes > kWithoutAsking) {
    const cudaError_t error =
        cudaFuncSetAttribute(augmix_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    if (error != cudaSuccess) return error;
  }
  augmix_kernel<T><<<static_cast<unsigned>(task.batch), kThreads, bytes, stream>>>(task);
  return cudaGetLastError();
}

}  // namespace

int launch_augmix(const AugmixTask& task, CudaStream stream) {
  return task.bf16 ? launch<Bf16>(task, stream) : launch<float>(task, stream);
}

}  // namespace ekd

// CUDA driver of the base view: one thread a pixel, all its channels, so that a warp writes 32 neighbours.
#include <cuda_runtime.h>

#include "ekd/kernels/base_view_task.h"

namespace ekd {
namespace {

constexpr int kThreads = 256;

__global__ void base_view_kernel(BaseViewTask task) {
  const int pixels = task.height * task.width;
  const std::int64_t index = std::int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= task.batch * pixels) return;
  const std::int64_t b = index / pixels;
  const int i = static_cast<int>(index - b * pixels);
  const std::uint8_t* image = task.images + (task.rows ? task.rows[b] : b) * task.channels * pixels;
  int source = i;
  if (task.views)
    source = view_source(task.views[task.view_rows[b]], task.order, {i % task.width, i / task.width}, task.width,
                         task.height);
  float* out = task.out + index * task.channels;
  for (int c = 0; c < task.channels; ++c) {
    const std::uint8_t value = source < 0 ? std::uint8_t{0} : image[c * pixels + source];
    out[c] = normalise(value, task.scale.mean[c], task.scale.std[c]);
  }
}

}  // namespace

int launch_base_view(const BaseViewTask& task, CudaStream stream) {
  const std::int64_t work = task.batch * task.height * task.width;
  const auto blocks = static_cast<unsigned>((work + kThreads - 1) / kThreads);
  base_view_kernel<<<blocks, kThreads, 0, stream>>>(task);
  return cudaGetLastError();
}

}  // namespace ekd

// CUDA driver of the views: one thread a pixel, all its channels, so that a warp writes 32 neighbours.
#include <cuda_runtime.h>

#include "kernels/views/view_task.h"

namespace ekd {
namespace {

constexpr int kThreads = 256;

template <Combination kCombination, class T>
__global__ void view_kernel(ViewTask task) {
  view_thread<kCombination, T>(task, std::int64_t{blockIdx.x} * kThreads + threadIdx.x);
}

}  // namespace

int launch_views(const ViewTask& task, CudaStream stream) {
  const std::int64_t work = task.batch * task.shape.pixels();
  const auto blocks = static_cast<unsigned>((work + kThreads - 1) / kThreads);
  return with_view_kind(task, [&](auto kind) {
    using Kind = decltype(kind);
    view_kernel<Kind::kCombination, typename Kind::Out><<<blocks, kThreads, 0, stream>>>(task);
    return static_cast<int>(cudaGetLastError());
  });
}

}  // namespace ekd

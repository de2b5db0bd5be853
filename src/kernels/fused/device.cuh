// One launch of a kernel of this folder on CUDA.
#pragma once

#include <cuda_runtime.h>

#include "kernels/fused/block.h"

namespace ekd {

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads, Kernel::kBlocksAtOnce)
    fused_kernel(const __grid_constant__ Kernel kernel) {
  CudaBlock block;
  kernel(block);
}

// Runs kernels on a stream; returns a cudaError_t.
struct CudaRun {
  CudaStream stream;

  template <class Kernel>
  int operator()(const Kernel& kernel, const LaunchShape& shape) const {
    constexpr std::size_t kWithoutAsking = 48 << 10;
    if (shape.shared_bytes > kWithoutAsking) {
      const cudaError_t status = cudaFuncSetAttribute(fused_kernel<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                      static_cast<int>(shape.shared_bytes));
      if (status != cudaSuccess) return status;
    }
    const dim3 blocks(shape.x, shape.y, shape.z);
    fused_kernel<<<blocks, shape.threads, shape.shared_bytes, stream>>>(kernel);
    return cudaGetLastError();
  }
};

}  // namespace ekd

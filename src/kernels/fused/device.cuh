// One launch of a kernel of this folder on CUDA.
#pragma once

#include <cuda_runtime.h>

#include "kernels/fused/block.h"

namespace ekd {

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads, Kernel::kBlocksAtOnce)
    fused_kernel(const __grid_constant__ Kernel kernel) {
#if __CUDA_ARCH__ >= 900
  // The next kernel's blocks come onto the processors as this one's leave them, and wait there until its work is done.
  cudaTriggerProgrammaticLaunchCompletion();
  cudaGridDependencySynchronize();
#endif
  CudaBlock block;
  kernel(block);
}

// Whether the present device can start a kernel's blocks before the kernel before has ended.
inline bool overlaps_kernels() {
  int device = 0, major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess && major >= 9;
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
    cudaLaunchAttribute overlap{};
    overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    overlap.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config{};
    config.gridDim = dim3(shape.x, shape.y, shape.z);
    config.blockDim = dim3(shape.threads);
    config.dynamicSmemBytes = shape.shared_bytes;
    config.stream = stream;
    config.attrs = &overlap;
    config.numAttrs = overlaps_kernels() ? 1 : 0;
    return cudaLaunchKernelEx(&config, fused_kernel<Kernel>, kernel);
  }
};

}  // namespace ekd

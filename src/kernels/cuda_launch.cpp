#include "kernels/cuda_launch.h"

#ifdef EKD_WITH_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#else
#include "ekd/core/error.h"
#endif

namespace ekd {

#ifdef EKD_WITH_CUDA
void launch_on_cuda(c10::Device device, const std::function<int(CudaStream)>& launch) {
  const c10::cuda::CUDAGuard guard(device);
  C10_CUDA_CHECK(static_cast<cudaError_t>(launch(c10::cuda::getCurrentCUDAStream(device.index()).stream())));
}
#else
void launch_on_cuda(c10::Device device, const std::function<int(CudaStream)>&) {
  throw UsageError("this build of ekd has no CUDA kernels, so nothing can run on " + device.str() +
                   "; use --device cpu, or build where nvcc is found");
}
#endif

}  // namespace ekd

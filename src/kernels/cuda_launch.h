// The bridge from LibTorch's devices and streams to our CUDA drivers.
#pragma once

#include <c10/core/Device.h>

#include <functional>

#include "ekd/kernels/host_device.h"

namespace ekd {

// Calls `launch` with the current stream of `device`, which is made current; launch returns a cudaError_t, and
// c10::Error is thrown where that is not success. In a build without CUDA kernels throws UsageError.
void launch_on_cuda(c10::Device device, const std::function<int(CudaStream)>& launch);

}  // namespace ekd

#include "ekd/core/device.h"

#ifdef EKD_WITH_CUDA
#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>
#endif

namespace ekd {

#ifdef EKD_WITH_CUDA

int cuda_device_count() { return static_cast<int>(c10::cuda::device_count()); }

std::string cuda_unavailable_reason() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  cudaGetLastError();  // the answer is not left behind for the next caller
  if (status == cudaErrorInsufficientDriver || status == cudaErrorStubLibrary) return "no NVIDIA driver was found";
  if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) return "no CUDA device was found";
  if (status != cudaSuccess) return cudaGetErrorString(status);
  if (!at::hasCUDA()) return "LibTorch's CUDA part could not be loaded";
  return {};
}

bool cuda_has_bf16(int index) {
  cudaDeviceProp properties{};
  return cudaGetDeviceProperties(&properties, index) == cudaSuccess && properties.major >= 8;
}

std::size_t cuda_shared_bytes(int index) {
  cudaDeviceProp properties{};
  return cudaGetDeviceProperties(&properties, index) == cudaSuccess ? properties.sharedMemPerBlockOptin : 0;
}

std::string cuda_device_name(int index) {
  cudaDeviceProp properties{};
  return cudaGetDeviceProperties(&properties, index) == cudaSuccess ? properties.name : "unknown device";
}

DeviceMemory cuda_memory(int index) {
  DeviceMemory memory;
  if (cudaSetDevice(index) != cudaSuccess || cudaMemGetInfo(&memory.free, &memory.total) != cudaSuccess) return {};
  return memory;
}

void cuda_empty_cache() { c10::cuda::CUDACachingAllocator::emptyCache(); }

#else

int cuda_device_count() { return 0; }
std::string cuda_unavailable_reason() { return "this ekd was built without CUDA"; }
bool cuda_has_bf16(int) { return false; }
std::size_t cuda_shared_bytes(int) { return 0; }
std::string cuda_device_name(int) { return {}; }
DeviceMemory cuda_memory(int) { return {}; }
void cuda_empty_cache() {}

#endif

}  // namespace ekd

// What a thread of these kernels asks of its block: shared memory, barriers, copies, products on tensor cores; and the
// launch of a kernel. A kernel is an object whose call takes a Block, and which names its kThreads, and kBlocksAtOnce
// that a processor should hold; CudaBlock is the hardware's, and tests have one whose threads run on the CPU
// (tests/support/emulated_block.h). Numbers on tensor cores are pairs of bf16 in 32 bits, the earlier one in the lower
// half; fragments lie as PTX defines them for mma.m16n8k16.
#pragma once

#ifdef __CUDACC__
#include <cuda_runtime.h>
#endif

#include <cstddef>
#include <cstdint>

#include "ekd/kernels/host_device.h"

namespace ekd {

// Of a launch.
struct LaunchShape {
  int x = 1, y = 1, z = 1;       // blocks
  int threads = 0;               // in a block
  std::size_t shared_bytes = 0;  // of each block
};

constexpr int kWarp = 32;

// Division by a number that is the same for all threads, made on the host: a multiplication. Exact while dividend ·
// divisor is below 2³².
struct Divisor {
  unsigned value = 1, magic = 0;

  Divisor() = default;
  explicit Divisor(int divisor)
      : value(static_cast<unsigned>(divisor)),
        magic(divisor == 1 ? 0 : static_cast<unsigned>(((std::uint64_t{1} << 32) + value - 1) / value)) {}
  EKD_HOST_DEVICE int quotient(int dividend) const {
    if (value == 1) return dividend;
#ifdef __CUDA_ARCH__
    return static_cast<int>(__umulhi(static_cast<unsigned>(dividend), magic));
#else
    return static_cast<int>(static_cast<std::uint64_t>(static_cast<unsigned>(dividend)) * magic >> 32);
#endif
  }
  EKD_HOST_DEVICE int remainder(int dividend, int of_quotient) const {
    return dividend - of_quotient * static_cast<int>(value);
  }
};

// Starts the kernel that fits a task; returns a cudaError_t and waits for nothing. The .cu files have it for each task.
template <class Task>
int launch_on(const Task& task, CudaStream stream);

#ifdef __CUDACC__
class CudaBlock {
 public:
  __device__ int thread() const { return static_cast<int>(threadIdx.x); }
  __device__ int threads() const { return static_cast<int>(blockDim.x); }
  __device__ int x() const { return static_cast<int>(blockIdx.x); }
  __device__ int y() const { return static_cast<int>(blockIdx.y); }
  __device__ int z() const { return static_cast<int>(blockIdx.z); }
  __device__ int blocks_x() const { return static_cast<int>(gridDim.x); }

  __device__ char* shared() const {
    extern __shared__ __align__(16) char memory[];
    return memory;
  }
  __device__ void sync() const { __syncthreads(); }

  // Begins to copy 4, 8 or 16 bytes, aligned to their number, from global to shared memory.
  template <int kBytes>
  __device__ void copy(void* to, const void* from) const {
    const auto address = static_cast<unsigned>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2;" ::"r"(address), "l"(from), "n"(kBytes) : "memory");
  }
  // Closes a group of copies, which may be empty.
  __device__ void close_copies() const { asm volatile("cp.async.commit_group;" ::: "memory"); }
  // Waits for this thread's copies but those of the last kOpen groups; others see them after the next sync.
  template <int kOpen>
  __device__ void wait_for_copies() const {
    asm volatile("cp.async.wait_group %0;" ::"n"(kOpen) : "memory");
  }

  // Four 8×8 matrices of bf16 from shared memory, lane l giving the address of row l % 8 of matrix l / 8.
  __device__ void load_matrices(unsigned (&to)[4], const void* row) const {
    const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
  }
  __device__ void load_matrices_transposed(unsigned (&to)[4], const void* row) const {
    const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
  }
  // c [16, 8] += a [16, 16] · b [16, 8].
  __device__ void multiply_add(float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) const {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
  // The value of the lane whose number differs in the bits of `mask`.
  __device__ float exchange(float value, int mask) const { return __shfl_xor_sync(0xffffffffu, value, mask); }

  __device__ void add(long long* to, long long value) const {
    atomicAdd(reinterpret_cast<unsigned long long*>(to), static_cast<unsigned long long>(value));
  }
};

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

template <class Task>
int launch_on(const Task& task, CudaStream stream) {
  return run_fused(task, CudaRun{stream});
}
#endif

}  // namespace ekd

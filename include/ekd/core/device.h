// Where and how a run computes: device, precision, threads, memory.
#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace ekd {

// "auto" (CUDA where there is a GPU), "cpu", "cuda", "cuda:N". Throws UsageError with the reason where it is not there.
at::Device resolve_device(const std::string& text);

enum class Precision { kFp32, kBf16 };

// Whether this CPU has AVX-512, or that with bf16 arithmetic, and ATEN_CPU_CAPABILITY allows it.
bool cpu_has_avx512();
bool cpu_has_bf16();

// Whether this CPU has tiles for bf16 (AMX) and the process may use them: ATEN_CPU_CAPABILITY and ONEDNN_MAX_CPU_ISA,
// which keeps oneDNN from them too, can name less.
bool cpu_has_tiles();

// "auto": what is faster. On CUDA bf16 from compute capability 8.0 on; on a CPU bf16 with AMX, and with AVX-512 BF16
// unless most of the work is in dense 3×3 convolutions, which have a faster algorithm in fp32; else fp32. `dense`:
// whether most of it is.
Precision resolve_precision(const std::string& text, at::Device device, bool dense);
std::string precision_name(Precision precision);
// What images are made as: bfloat16 where the first convolution would round them to it anyway.
at::ScalarType image_dtype(Precision precision);

// 0: OMP_NUM_THREADS, else one per core. Never more than the cores that the process may use: threads that
// share a core take many times as long. Where more are asked for, a warning says so.
void set_threads(std::int64_t threads);

// From now on set_threads sees one part of so many of the cores, on this thread.
void share_cores(int among);

// Deterministic algorithms on CUDA, at a cost; the CPU's are deterministic for a fixed number of threads. Call before
// CUDA starts.
void set_deterministic(bool deterministic);

// Whether the networks use ekd's own kernels (the default) or LibTorch's operations, which are the reference for them.
void set_fused_kernels(bool fused);
bool fused_kernels();

// What bits depend on besides the settings: "cpu, AVX512, 2 threads" or the GPU's name.
std::string compute_description(at::Device device);

// Autocast of `device` to bf16 while it lives, or off for fp32. One guard per forward pass; losses stay outside it.
class AutocastGuard {
 public:
  AutocastGuard(at::Device device, Precision precision);
  ~AutocastGuard();
  AutocastGuard(const AutocastGuard&) = delete;
  AutocastGuard& operator=(const AutocastGuard&) = delete;

 private:
  at::DeviceType type_;
  bool was_enabled_, cache_was_enabled_;
  at::ScalarType old_dtype_;
};

// Questions to CUDA that need no CUDA headers from the asker; a build without CUDA answers that there is none.

// Empty where a CUDA device can be used, else why not, in words for a user.
std::string cuda_unavailable_reason();

int cuda_device_count();
bool cuda_has_bf16(int index);
std::size_t cuda_shared_bytes(int index);  // that a block may have, at most
std::string cuda_device_name(int index);

struct DeviceMemory {
  std::size_t free = 0, total = 0;  // bytes
};
DeviceMemory cuda_memory(int index);

// Gives cached blocks back to the device; for use after an out-of-memory error.
void cuda_empty_cache();

// Sets up the memory of CPU tensors; call before the first one. Freed pages stay with the process, since the next step
// wants them again. Tensors are aligned within blocks of malloc's: posix_memalign, which LibTorch calls, splits each
// block (glibc 2.36), so that freed blocks do not merge and the next step's tensors do not fit into them. Throws
// std::bad_alloc where there is no memory for a tensor.
void set_up_host_memory();

}  // namespace ekd

#include "ekd/core/device.h"

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/autocast_mode.h>
#include <c10/core/CPUAllocator.h>
#include <malloc.h>
#include <sched.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <new>
#include <optional>
#include <string_view>

#include "ekd/core/error.h"

#ifdef EKD_WITH_CUDA
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>

#include "core/cuda_recorder.h"
#endif

namespace ekd {
namespace {

std::atomic<bool> fused = true;
thread_local int sharers = 1;

// Of this thread.
std::int64_t usable_cores() {
  cpu_set_t allowed;
  const int cores = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : 1;
  return std::max(1, cores / sharers);
}

// The N of "cuda:N", 0 for "cuda"; nothing where the text is neither.
std::optional<int> cuda_index(const std::string& text) {
  if (text == "cuda") return 0;
  if (!text.starts_with("cuda:")) return std::nullopt;
  int index = -1;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + 5, end, index);
  if (parsed.ec != std::errc{} || parsed.ptr != end || index < 0 || index > 127) return std::nullopt;
  return index;
}

constexpr std::size_t kAlignment = 64;  // LibTorch's: a cache line, an AVX-512 vector

// What malloc returned, kept in front of the aligned bytes.
void*& block_of(void* aligned) { return static_cast<void**>(aligned)[-1]; }

void release(void* aligned) {
  if (aligned != nullptr) std::free(block_of(aligned));
}

void* aligned_block(std::size_t bytes) {
  std::size_t space = bytes + kAlignment;
  void* const block = std::malloc(sizeof(void*) + space);
  if (block == nullptr) throw std::bad_alloc();
  void* aligned = static_cast<void**>(block) + 1;
  std::align(kAlignment, bytes, aligned, space);
  block_of(aligned) = block;
  return aligned;
}

class HostAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(std::size_t bytes) override {
    void* const aligned = bytes == 0 ? nullptr : aligned_block(bytes);
    return {aligned, aligned, &release, c10::Device(c10::kCPU)};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &release; }

  void copy_data(void* target, const void* source, std::size_t bytes) const override {
    default_copy_data(target, source, bytes);
  }
};

}  // namespace

at::Device resolve_device(const std::string& text) {
  if (text == "cpu") return at::kCPU;
  if (text == "auto") return cuda_unavailable_reason().empty() ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  const auto index = cuda_index(text);
  if (!index) throw UsageError("run.device takes auto, cpu, cuda or cuda:N, not '" + text + "'");
  const std::string reason = cuda_unavailable_reason();
  if (!reason.empty()) throw UsageError("device '" + text + "' is not available: " + reason);
  if (*index >= cuda_device_count()) {
    throw UsageError("device '" + text + "' is not available: this machine has " + std::to_string(cuda_device_count()) +
                     " CUDA device(s), counted from 0");
  }
  return {at::kCUDA, static_cast<at::DeviceIndex>(*index)};
}

bool cpu_has_avx512() {
  static const bool has = at::get_cpu_capability() == "AVX512";
  return has;
}

#ifdef __x86_64__
namespace {

// Asks the kernel, which gives a process the memory for tiles only then.
bool may_use_tiles() {
  constexpr long kAskForFeature = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kAskForFeature, kTileData) == 0;
}

bool is_kept_from_tiles() {
  const char* most = std::getenv("ONEDNN_MAX_CPU_ISA");
  const std::string_view isa = most != nullptr ? most : "";
  return (isa.starts_with("SSE") || isa.starts_with("AVX")) && isa.find("AMX") == isa.npos;
}

}  // namespace

bool cpu_has_bf16() { return cpu_has_avx512() && __builtin_cpu_supports("avx512bf16"); }

bool cpu_has_tiles() {
  static const bool has = cpu_has_bf16() && __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
                          !is_kept_from_tiles() && may_use_tiles();
  return has;
}
#else
bool cpu_has_bf16() { return false; }
bool cpu_has_tiles() { return false; }
#endif

// Images/s on two cores of one machine with all of these instructions, ONEDNN_MAX_CPU_ISA naming less for the second
// line (docs/performance.md), in bf16 and fp32:
//                  WRN-40-2 alone   ShuffleNetV1 alone   it from one WRN-40-2   from four
//   AMX               580  191         540   240             --                    325  --
//   AVX-512 BF16       90  191         285   240            162  185                61  114
Precision resolve_precision(const std::string& text, at::Device device, bool dense) {
  const bool native = device.is_cuda() ? cuda_has_bf16(device.index()) : cpu_has_bf16();
  const bool faster = native && (device.is_cuda() || cpu_has_tiles() || !dense);
  if (text == "auto") return faster ? Precision::kBf16 : Precision::kFp32;
  if (text == "fp32") return Precision::kFp32;
  TORCH_CHECK(text == "bf16", "unknown precision ", text);
  if (!native) spdlog::warn("this hardware has no bf16 arithmetic: --precision bf16 will be slower than fp32");
  return Precision::kBf16;
}

std::string precision_name(Precision precision) { return precision == Precision::kBf16 ? "bf16" : "fp32"; }

at::ScalarType image_dtype(Precision precision) { return precision == Precision::kBf16 ? at::kBFloat16 : at::kFloat; }

void set_threads(std::int64_t threads) {
  const std::int64_t cores = usable_cores();
  if (threads == 0) {
    const char* omp = std::getenv("OMP_NUM_THREADS");
    threads = omp != nullptr && std::atoi(omp) > 0 ? std::min<std::int64_t>(std::atoi(omp), cores) : cores;
  }
  if (threads > cores) spdlog::warn("--threads {}: there are {} cores, so {} threads are used", threads, cores, cores);
  at::set_num_threads(static_cast<int>(std::min(threads, cores)));
}

void share_cores(int among) { sharers = among; }

void set_deterministic(bool deterministic) {
  // cuDNN tries its algorithms for every shape when it meets it: in the steps before a step is recorded.
  at::globalContext().setBenchmarkCuDNN(!deterministic);
  if (!deterministic) return;
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/false);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
  at::globalContext().setDeterministicCuDNN(true);
}

void set_fused_kernels(bool on) { fused = on; }

bool fused_kernels() { return fused; }

std::string compute_description(at::Device device) {
  if (device.is_cuda()) return "cuda, " + cuda_device_name(device.index());
  return "cpu, " + at::get_cpu_capability() + (cpu_has_tiles() ? " with AMX, " : ", ") +
         std::to_string(at::get_num_threads()) + " threads";
}

AutocastGuard::AutocastGuard(at::Device device, Precision precision)
    : type_(device.type()),
      was_enabled_(at::autocast::is_autocast_enabled(type_)),
      cache_was_enabled_(at::autocast::is_autocast_cache_enabled()),
      old_dtype_(at::autocast::get_autocast_dtype(type_)) {
  at::autocast::set_autocast_enabled(type_, precision == Precision::kBf16);
  at::autocast::set_autocast_dtype(type_, at::kBFloat16);
  at::autocast::set_autocast_cache_enabled(true);
  at::autocast::increment_nesting();
}

AutocastGuard::~AutocastGuard() {
  if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
  at::autocast::set_autocast_enabled(type_, was_enabled_);
  at::autocast::set_autocast_dtype(type_, old_dtype_);
  at::autocast::set_autocast_cache_enabled(cache_was_enabled_);
}

void set_up_host_memory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);  // never
  static HostAllocator allocator;
  c10::SetCPUAllocator(&allocator);
}

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

void cuda_empty_cache() {
  const std::lock_guard no_recording(recording_mutex());
  c10::cuda::CUDACachingAllocator::emptyCache();
}

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

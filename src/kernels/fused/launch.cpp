#include "kernels/fused/launch.h"

#include <map>
#include <mutex>
#include <utility>

#include "ekd/core/device.h"
#include "ekd/kernels/fused.h"
#include "kernels/cuda_launch.h"
#include "kernels/fused/cpu.h"

#ifdef EKD_WITH_CUDA
#include <c10/cuda/CUDAGuard.h>

#include "ekd/core/cuda_streams.h"
#endif

namespace ekd {
namespace {

FusedEmulator& fused_emulator() {
  static FusedEmulator emulator;
  return emulator;
}

}  // namespace

void set_fused_emulator(FusedEmulator emulator) { fused_emulator() = std::move(emulator); }

bool has_fused_kernels(c10::Device device) {
  if (device.is_cpu()) return fused_emulator() != nullptr || cpu_has_tiles();
#ifdef EKD_WITH_CUDA
  if (!device.is_cuda()) return false;
  const int index = device.has_index() ? device.index() : 0;
  static std::mutex mutex;
  static std::map<int, bool> known;
  const std::lock_guard lock(mutex);
  const auto [found, is_new] = known.try_emplace(index, false);
  if (is_new) found->second = cuda_has_bf16(index);
  return found->second;
#else
  return false;
#endif
}

bool has_shared_bytes(c10::Device device, std::size_t bytes) {
  if (!device.is_cuda()) return true;
  static const std::size_t most = cuda_shared_bytes(device.has_index() ? device.index() : 0);
  return bytes <= most;
}

bool has_own_convolutions(c10::Device device) {
  return device.is_cpu() && fused_emulator() == nullptr && cpu_has_tiles();
}

void launch_fused(const FusedTask& task, c10::Device device) {
  if (device.is_cpu()) {
    if (fused_emulator() != nullptr) return fused_emulator()(task);
    return std::visit(
        [](const auto& one) {
          if constexpr (requires { run_on_cpu(one); })
            run_on_cpu(one);
          else
            TORCH_INTERNAL_ASSERT(false, "a kernel of a GPU on the CPU");
        },
        task);
  }
#ifdef EKD_WITH_CUDA
  launch_on_cuda(device, [&](CudaStream stream) {
    return std::visit([&](const auto& one) { return launch_on(one, stream); }, task);
  });
#else
  launch_on_cuda(device, {});
#endif
}

#ifdef EKD_WITH_CUDA
struct SideStream::Cuda {
  explicit Cuda(c10::Device device) : side(stream_beside(current(device), 0)) {}

  static c10::cuda::CUDAStream current(c10::Device device) { return c10::cuda::getCurrentCUDAStream(device.index()); }

  c10::cuda::CUDAStream side;
};
#else
struct SideStream::Cuda {};
#endif

SideStream::SideStream(c10::Device device) {
#ifdef EKD_WITH_CUDA
  if (device.is_cuda()) cuda_ = std::make_unique<Cuda>(device);
#else
  static_cast<void>(device);
#endif
}

// What is held must not be given away before it has been read, also where the pass was broken off.
SideStream::~SideStream() {
  try {
    join();
  } catch (...) {  // a device in error has stopped as well
  }
}

void SideStream::run(const std::vector<at::Tensor>& tensors, const std::function<void()>& work) {
#ifdef EKD_WITH_CUDA
  if (cuda_ != nullptr) {
    held_.insert(held_.end(), tensors.begin(), tensors.end());
    order(Cuda::current(cuda_->side.device()), cuda_->side);
    const c10::cuda::CUDAStreamGuard on_side(cuda_->side);
    return work();
  }
#endif
  static_cast<void>(tensors);
  work();
}

void SideStream::join() {
#ifdef EKD_WITH_CUDA
  if (cuda_ == nullptr || held_.empty()) return;
  order(cuda_->side, Cuda::current(cuda_->side.device()));
  held_.clear();
#endif
}

}  // namespace ekd

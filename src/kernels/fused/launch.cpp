#include "kernels/fused/launch.h"

#include <map>
#include <mutex>
#include <utility>

#include "ekd/core/device.h"
#include "ekd/kernels/fused/operations.h"
#include "kernels/cuda_launch.h"
#include "kernels/fused/launches.h"

namespace ekd {
namespace {

FusedEmulator& fused_emulator() {
  static FusedEmulator emulator;
  return emulator;
}

}  // namespace

void set_fused_emulator(FusedEmulator emulator) { fused_emulator() = std::move(emulator); }

bool has_fused_kernels(c10::Device device) {
  if (device.is_cpu()) return fused_emulator() != nullptr;
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

void launch_fused(const FusedTask& task, c10::Device device) {
  if (device.is_cpu()) return fused_emulator()(task);
#ifdef EKD_WITH_CUDA
  launch_on_cuda(device, [&](CudaStream stream) {
    return std::visit([&](const auto& one) { return launch_on(one, stream); }, task);
  });
#else
  launch_on_cuda(device, {});
#endif
}

}  // namespace ekd

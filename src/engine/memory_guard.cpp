#include "ekd/engine/memory_guard.h"

#include <c10/util/Exception.h>
#include <unistd.h>

#include <new>

#include "ekd/core/cuda_device.h"

namespace ekd {
namespace {

bool is_out_of_memory(const std::exception& error) {
  return dynamic_cast<const std::bad_alloc*>(&error) != nullptr ||
         dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr;
}

}  // namespace

std::string memory_advice(const std::exception& error, const std::string& doing, at::Device device) {
  if (!is_out_of_memory(error)) return {};
  DeviceMemory memory;
  if (device.is_cuda()) {
    cuda_empty_cache();
    memory = cuda_memory(device.index());
  } else {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    memory = {static_cast<std::size_t>(sysconf(_SC_AVPHYS_PAGES)) * page,
              static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * page};
  }
  return "not enough memory on " + device.str() + " for " + doing + ": " + std::to_string(memory.free) + " of " +
         std::to_string(memory.total) +
         " bytes are free; try a smaller --batch-size, --precision bf16, or another --device";
}

}  // namespace ekd

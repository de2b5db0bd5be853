// Questions to CUDA that need no CUDA headers from the asker; a build without CUDA answers that there is none.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace ekd {

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

}  // namespace ekd

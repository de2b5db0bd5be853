#include "ekd/core/host_memory.h"

#include <c10/core/CPUAllocator.h>
#include <malloc.h>

#include <cstdlib>
#include <memory>
#include <new>

namespace ekd {
namespace {

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

void set_up_host_memory() {
  mallopt(M_MMAP_THRESHOLD, 1 << 30);
  mallopt(M_TRIM_THRESHOLD, -1);  // never
  static HostAllocator allocator;
  c10::SetCPUAllocator(&allocator);
}

}  // namespace ekd

#include "ekd/core/device.h"

#include <ATen/ATen.h>
#include <c10/core/CPUAllocator.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdint>
#include <new>
#include <vector>

namespace ekd {
namespace {

bool is_aligned(const void* bytes) { return reinterpret_cast<std::uintptr_t>(bytes) % 64 == 0; }

class HostMemory : public testing::Test {
 protected:
  void SetUp() override {
    set_up_host_memory();
    ASSERT_NE(c10::GetCPUAllocator(), c10::GetDefaultCPUAllocator());
  }
  void TearDown() override { c10::SetCPUAllocator(c10::GetDefaultCPUAllocator()); }
};

TEST_F(HostMemory, TensorsOfEverySizeAreAligned) {
  std::vector<at::Tensor> tensors;
  for (const std::int64_t size : {0, 1, 63, 64, 65, 1000, 1 << 16, (1 << 20) + 3}) {
    tensors.push_back(at::full({size}, size % 100, at::kByte));
    EXPECT_TRUE(is_aligned(tensors.back().const_data_ptr())) << size;
  }
  for (const at::Tensor& tensor : tensors)
    EXPECT_EQ(tensor.sum().item<std::int64_t>(), tensor.numel() * (tensor.numel() % 100));
}

TEST_F(HostMemory, ResizingClonesAndRawBlocksWork) {
  at::Tensor numbers = at::arange(1000);
  EXPECT_TRUE(numbers.clone().equal(at::arange(1000)));
  numbers.resize_({2000});
  EXPECT_TRUE(numbers.narrow(0, 0, 1000).equal(at::arange(1000)));
  c10::Allocator* allocator = c10::GetCPUAllocator();
  void* raw = allocator->raw_allocate(1234);
  EXPECT_TRUE(is_aligned(raw));
  allocator->raw_deallocate(raw);
  allocator->raw_deallocate(allocator->raw_allocate(0));
}

TEST_F(HostMemory, ATensorOutlivesTheChangeOfAllocator) {
  const at::Tensor numbers = at::arange(1000);
  c10::SetCPUAllocator(c10::GetDefaultCPUAllocator());
  EXPECT_TRUE(numbers.equal(at::arange(1000)));
}

TEST_F(HostMemory, TooMuchIsABadAlloc) {
  // As tensors are made: nothing of LibTorch's changes the exception on the way.
  EXPECT_THROW(at::empty({std::int64_t{1} << 60}, at::kByte), std::bad_alloc);
}

TEST_F(HostMemory, FreedBlocksServeTheNextStep) {
  // Tensors of a step among small ones that stay, as gradients and statistics do.
  std::vector<at::Tensor> kept;
  const auto step = [&] {
    std::vector<at::Tensor> tensors;
    for (std::int64_t i = 0; i < 40; ++i) {
      tensors.push_back(at::empty({(1 + i % 4) << 20}, at::kByte));
      kept.push_back(at::empty({40}, at::kByte));
    }
  };
  step();
  const std::size_t taken = mallinfo2().arena + mallinfo2().hblkhd;
  for (int i = 0; i < 20; ++i) step();
  EXPECT_LT(mallinfo2().arena + mallinfo2().hblkhd, taken + (8 << 20));
}

}  // namespace
}  // namespace ekd

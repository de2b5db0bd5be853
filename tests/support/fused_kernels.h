// Which of the fused kernels a test runs on: a GPU's, run thread by thread on the CPU or on a GPU where there is one,
// or the CPU's own where it has them.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <ostream>
#include <string>

#include "ekd/kernels/fused.h"
#include "tests/support/emulated_block.h"

namespace ekd {

enum class Kernels { kEmulated, kCuda, kOwnOfCpu };
inline const auto kAllKernels = testing::Values(Kernels::kEmulated, Kernels::kCuda, Kernels::kOwnOfCpu);

inline void PrintTo(Kernels kernels, std::ostream* os) {
  *os << (kernels == Kernels::kEmulated ? "emulated" : kernels == Kernels::kCuda ? "CUDA" : "the CPU's own");
}

inline at::Device device_of(Kernels kernels) {
  return kernels == Kernels::kCuda ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
}

// Empty, or why there are none.
inline std::string missing(Kernels kernels) {
  if (kernels == Kernels::kEmulated || has_fused_kernels(device_of(kernels))) return "";
  return kernels == Kernels::kCuda ? "there is no GPU" : "this CPU has none";
}

// While it lives, operations on device_of(kernels) run on them.
class OnKernels {
 public:
  explicit OnKernels(Kernels kernels) {
    if (kernels == Kernels::kEmulated) emulation_.emplace();
  }

 private:
  std::optional<FusedEmulation> emulation_;
};

}  // namespace ekd

#include "kernels/cpu_loops.h"

#include <ATen/Version.h>

#include <string>

namespace ekd {

CpuCapability cpu_capability() {
  static const CpuCapability capability = [] {
    const std::string name = at::get_cpu_capability();
    return name == "AVX512" ? CpuCapability::kAvx512 : name == "AVX2" ? CpuCapability::kAvx2 : CpuCapability::kPlain;
  }();
  return capability;
}

}  // namespace ekd

// The choice between tables of loops that are compiled for several instruction sets.
#pragma once

#include <type_traits>

namespace ekd {

enum class CpuCapability { kPlain, kAvx2, kAvx512 };

// What this CPU can do and ATEN_CPU_CAPABILITY allows: the same as LibTorch's own kernels use.
CpuCapability cpu_capability();

// The member of a table for numbers of type T.
template <class T, class Table>
const auto& loops_for(const Table& table) {
  if constexpr (std::is_same_v<T, float>)
    return table.fp32;
  else
    return table.bf16;
}

#ifdef EKD_X86_KERNELS
// The table NAMEPlain, NAMEAvx2 or NAMEAvx512.
#define EKD_CPU_TABLE(name)                                  \
  (cpu_capability() == CpuCapability::kAvx512 ? name##Avx512 \
   : cpu_capability() == CpuCapability::kAvx2 ? name##Avx2   \
                                              : name##Plain)
#else
#define EKD_CPU_TABLE(name) name##Plain
#endif

}  // namespace ekd

// What the loops on the CPU have in common: a table of them for each instruction set, and when results are written past
// the caches.
#pragma once

#include <cstdint>
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

// Results of this size and larger are written past the caches: no core's own cache holds a tensor until the next
// operation reads it, and a line that is written whole past the caches need not be read first.
constexpr std::int64_t kStreamedBytes = 1 << 20;

// In a source that is compiled once for each instruction set (EKD_ISA): EKD_TABLE(kName) is kNamePlain, kNameAvx2 or
// kNameAvx512.
#define EKD_TABLE_JOINED(name, isa) name##isa
#define EKD_TABLE_OF(name, isa) EKD_TABLE_JOINED(name, isa)
#define EKD_TABLE(name) EKD_TABLE_OF(name, EKD_ISA)

}  // namespace ekd

// The inner loop of the channel shuffle, over raw memory: one table for each instruction set, compiled from one source
// (src/kernels/simd/channel_shuffle_loops.cpp).
#pragma once

#include <cstdint>

namespace ekd {

// Reads every row of groups · width numbers as [groups, width] and writes it as [width, groups]. T is a number's bits.
template <class T>
using ShuffleLoop = void (*)(const T* in, std::int64_t rows, std::int64_t groups, std::int64_t width, T* out);

struct ChannelShuffleTable {
  ShuffleLoop<std::uint32_t> four_bytes;
  ShuffleLoop<std::uint16_t> two_bytes;
};

extern const ChannelShuffleTable kChannelShufflePlain;
#ifdef EKD_X86_KERNELS
extern const ChannelShuffleTable kChannelShuffleAvx2;
extern const ChannelShuffleTable kChannelShuffleAvx512;
#endif

}  // namespace ekd

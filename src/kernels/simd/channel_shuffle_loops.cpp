#include "kernels/shuffle/channel_shuffle_loops.h"

#include "kernels/cpu_loops.h"

namespace ekd {
namespace {

// With kGroups or kWidth known the compiler moves whole vectors; 0 stands for any number.
template <int kGroups, int kWidth, class T>
void shuffle_rows(const T* __restrict in, std::int64_t rows, std::int64_t any_groups, std::int64_t any_width,
                  T* __restrict out) {
  const std::int64_t groups = kGroups ? kGroups : any_groups, width = kWidth ? kWidth : any_width;
  for (std::int64_t row = 0; row < rows; ++row, in += groups * width, out += groups * width) {
    if constexpr (kWidth) {
      for (std::int64_t g = 0; g < groups; ++g)
        for (int i = 0; i < kWidth; ++i) out[i * groups + g] = in[g * kWidth + i];
    } else {
      for (std::int64_t i = 0; i < width; ++i)
        for (std::int64_t g = 0; g < groups; ++g) out[i * groups + g] = in[g * width + i];
    }
  }
}

// Three groups are ShuffleNet's; its way back is the shuffle of groups of three.
template <class T>
void shuffle(const T* in, std::int64_t rows, std::int64_t groups, std::int64_t width, T* out) {
  if (groups == 3) return shuffle_rows<3, 0>(in, rows, groups, width, out);
  if (width == 3) return shuffle_rows<0, 3>(in, rows, groups, width, out);
  shuffle_rows<0, 0>(in, rows, groups, width, out);
}

}  // namespace

extern const ChannelShuffleTable EKD_TABLE(kChannelShuffle){shuffle<std::uint32_t>, shuffle<std::uint16_t>};

}  // namespace ekd

#include "ekd/kernels/channel_shuffle.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>

#include "kernels/cpu_loops.h"
#include "kernels/shuffle/channel_shuffle_loops.h"

namespace ekd {
namespace {

constexpr std::int64_t kShuffleGrain = 16'384;  // fewest numbers for a thread

template <class T>
void shuffle_rows(ShuffleLoop<T> loop, const at::Tensor& x, std::int64_t groups, const at::Tensor& y) {
  const std::int64_t channels = x.size(1), rows = x.numel() / channels;
  const T* in = static_cast<const T*>(x.const_data_ptr());
  T* out = static_cast<T*>(y.mutable_data_ptr());
  at::parallel_for(0, rows, std::max<std::int64_t>(1, kShuffleGrain / channels),
                   [&](std::int64_t begin, std::int64_t end) {
                     loop(in + begin * channels, end - begin, groups, channels / groups, out + begin * channels);
                   });
}

}  // namespace

bool shuffle_by_groups_takes(const at::Tensor& x) {
  return x.is_cpu() && (x.element_size() == 4 || x.element_size() == 2) && x.dim() == 4 && x.numel() > 0 &&
         x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor shuffle_by_groups(const at::Tensor& x, std::int64_t groups) {
  TORCH_CHECK(shuffle_by_groups_takes(x) && groups >= 1 && x.size(1) % groups == 0,
              "shuffle_by_groups: x is not made for it, or ", groups, " groups do not divide its channels");
  const at::Tensor y = at::empty_like(x);
  const ChannelShuffleTable& loops = EKD_CPU_TABLE(kChannelShuffle);
  if (x.element_size() == 4)
    shuffle_rows(loops.four_bytes, x, groups, y);
  else
    shuffle_rows(loops.two_bytes, x, groups, y);
  return y;
}

}  // namespace ekd

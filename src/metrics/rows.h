// Passes over rows of doubles.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>

namespace ekd {

// Calls work(first, rows) for parts of [N, classes], from row `first` on, on several threads. A part is small enough
// for what is made of it to stay in a core's cache; rows must not affect each other's results.
template <class Work>
void for_parts(const at::Tensor& all, Work work) {
  constexpr std::int64_t kNumbers = 32768;
  const std::int64_t at_once = std::max<std::int64_t>(1, kNumbers / all.size(1));
  at::parallel_for(0, all.size(0), at_once, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t first = begin; first < end; first += at_once)
      work(first, all.narrow(0, first, std::min(at_once, end - first)));
  });
}

}  // namespace ekd

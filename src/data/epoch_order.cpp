#include "ekd/data/epoch_order.h"

#include <ATen/ops/empty.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "ekd/core/random.h"

namespace ekd {

at::Tensor epoch_order(std::int64_t size, std::uint32_t seed, std::int64_t epoch) {
  const CountedRandom random(seed, RandomStream::kOrder);
  std::vector<std::pair<std::uint64_t, std::int64_t>> keyed(static_cast<std::size_t>(size));
  for (std::int64_t row = 0; row < size; ++row) {
    keyed[static_cast<std::size_t>(row)] = {
        random.bits(static_cast<std::uint32_t>(epoch), static_cast<std::uint32_t>(row), 0), row};
  }
  std::sort(keyed.begin(), keyed.end());  // equal keys fall back to the row: as good as stable
  at::Tensor order = at::empty({size}, at::kLong);
  auto* out = order.mutable_data_ptr<std::int64_t>();
  for (const auto& [key, row] : keyed) *out++ = row;
  return order;
}

}  // namespace ekd

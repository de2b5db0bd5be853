#include "ekd/data/load.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace ekd {
namespace {

std::vector<std::int64_t> order(std::int64_t size, std::uint32_t seed, std::int64_t epoch) {
  const at::Tensor tensor = epoch_order(size, seed, epoch);
  const auto* data = tensor.const_data_ptr<std::int64_t>();
  return {data, data + tensor.size(0)};
}

TEST(EpochOrder, IsAPermutationThatDependsOnSeedAndEpochAlone) {
  auto sorted = order(1000, 1, 2);
  EXPECT_EQ(sorted, order(1000, 1, 2));
  EXPECT_NE(sorted, order(1000, 1, 3));
  EXPECT_NE(sorted, order(1000, 2, 2));
  std::ranges::sort(sorted);
  for (std::int64_t i = 0; i < 1000; ++i) EXPECT_EQ(sorted[static_cast<std::size_t>(i)], i);
}

TEST(EpochOrder, EveryRowIsAsLikelyFirstAsAnyOther) {
  // 6,000 epochs of 6 rows: each first about 1,000 times, standard deviation √(6000·1/6·5/6) = 29.
  std::vector<int> first(6);
  for (std::int64_t epoch = 0; epoch < 6000; ++epoch) ++first[static_cast<std::size_t>(order(6, 0, epoch)[0])];
  for (const int count : first) EXPECT_NEAR(count, 1000, 5 * 29);
}

}  // namespace
}  // namespace ekd

#include "ekd/train/epoch_sums.h"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <limits>

namespace ekd {
namespace {

LossTerms terms(float ce, float kd) { return {{{"ce", at::full({}, ce), 0.5}, {"kd", at::full({}, kd), 2}}}; }

void add(EpochSums& sums, float ce, float kd, std::int64_t batch_size, std::int64_t step) {
  const LossTerms losses = terms(ce, kd);
  sums.begin_step(step, batch_size);
  sums.add(losses, losses.total(), batch_size);
}

TEST(EpochSums, MeansAreOverSamples) {  // ce: (4·1 + 1·6)/5 = 2; kd: (4·3 + 1·8)/5 = 4; loss: .5·2 + 2·4 = 9
  EpochSums sums;
  add(sums, 1, 3, 4, 0);
  add(sums, 6, 8, 1, 1);
  const auto means = sums.means();
  ASSERT_EQ(means.size(), 3U);
  EXPECT_EQ(means[0].name, "loss");
  EXPECT_DOUBLE_EQ(means[0].value, 9);
  EXPECT_DOUBLE_EQ(means[1].value, 2);
  EXPECT_DOUBLE_EQ(means[2].value, 4);
  EXPECT_EQ(sums.first_non_finite().step, -1);
}

TEST(EpochSums, NamesTheFirstBadTermAndStep) {
  EpochSums sums;
  add(sums, 1, 1, 2, 0);
  add(sums, 1, std::numeric_limits<float>::infinity(), 2, 1);
  add(sums, std::numeric_limits<float>::quiet_NaN(), 1, 2, 2);
  EXPECT_EQ(sums.first_non_finite().step, 1);
  EXPECT_EQ(sums.first_non_finite().term, "kd");
}

TEST(EpochSums, RestoredSumsGoOn) {
  EpochSums sums, other;
  add(sums, 1, 3, 4, 0);
  other.restore(sums.values(), sums.names(), sums.samples());
  add(other, 6, 8, 1, 1);
  EXPECT_DOUBLE_EQ(other.means()[0].value, 9);
}

TEST(EpochSums, ClearedSumsAreAsNew) {
  const float bad = std::numeric_limits<float>::quiet_NaN();
  EpochSums sums;
  add(sums, bad, 3, 4, 2);
  sums.clear();
  EXPECT_EQ(sums.samples(), 0);
  EXPECT_TRUE(sums.names().empty());
  EXPECT_TRUE(sums.means().empty());
  EXPECT_EQ(sums.values().numel(), 0);
  EXPECT_EQ(sums.first_non_finite().step, -1);
  add(sums, 1, 3, 4, 0);
  EXPECT_DOUBLE_EQ(sums.means()[0].value, 6.5);
  EXPECT_EQ(sums.first_non_finite().step, -1);
}

// A replayed step adds to the tensors that it was recorded with.
TEST(EpochSums, StayInPlace) {
  const auto address = [](const EpochSums& sums) { return sums.values().const_data_ptr(); };  // the CPU copies nothing
  EpochSums sums;
  add(sums, 1, 3, 4, 0);
  const void* const first = address(sums);
  const at::Tensor kept = sums.values().clone();
  const auto names = sums.names();
  sums.clear();
  add(sums, 6, 8, 1, 0);
  EXPECT_EQ(address(sums), first);
  sums.restore(kept, names, 4);
  EXPECT_EQ(address(sums), first);
  EXPECT_DOUBLE_EQ(sums.means()[0].value, 6.5);
}

}  // namespace
}  // namespace ekd

#include "train/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

namespace ekd {
namespace {

OptimConfig config(const std::string& schedule, std::int64_t epochs) {
  OptimConfig optim;
  optim.lr = 1;
  optim.schedule = schedule;
  optim.epochs = epochs;
  return optim;
}

TEST(Schedule, StepsDropAtTheirEpochs) {  // paper: ×0.1 from epochs 150, 180, 210 on
  const OptimConfig optim = config("step", 500);
  const std::int64_t per_epoch = 391;
  EXPECT_DOUBLE_EQ(learning_rate_at(optim, 0, per_epoch), 1);
  EXPECT_DOUBLE_EQ(learning_rate_at(optim, 150 * per_epoch - 1, per_epoch), 1);
  EXPECT_DOUBLE_EQ(learning_rate_at(optim, 150 * per_epoch, per_epoch), 0.1);
  EXPECT_NEAR(learning_rate_at(optim, 180 * per_epoch, per_epoch), 0.01, 1e-15);
  EXPECT_NEAR(learning_rate_at(optim, 499 * per_epoch, per_epoch), 0.001, 1e-15);
}

TEST(Schedule, CosineIsHalfwayAtHalfTime) {
  const OptimConfig optim = config("cosine", 10);
  EXPECT_DOUBLE_EQ(learning_rate_at(optim, 0, 4), 1);
  EXPECT_NEAR(learning_rate_at(optim, 20, 4), 0.5, 1e-15);
  EXPECT_NEAR(learning_rate_at(optim, 10, 4), (1 + std::sqrt(0.5)) / 2, 1e-15);
}

TEST(Schedule, OneCycleRisesToLrAndFalls) {
  const OptimConfig optim = config("onecycle", 10);  // rise .3, start .04, final 1e-4
  EXPECT_DOUBLE_EQ(learning_rate_at(optim, 0, 10), 0.04);
  EXPECT_NEAR(learning_rate_at(optim, 15, 10), (1 + 0.04) / 2, 1e-12);
  EXPECT_DOUBLE_EQ(learning_rate_at(optim, 30, 10), 1);
  EXPECT_NEAR(learning_rate_at(optim, 65, 10), (1 + 1e-4) / 2, 1e-12);
  EXPECT_LT(learning_rate_at(optim, 99, 10), 1e-3);
  EXPECT_GT(learning_rate_at(optim, 99, 10), 1e-4);
}

TEST(Schedule, WarmupMultipliesAnySchedule) {
  OptimConfig optim = config("constant", 10);
  optim.warmup_epochs = 2;
  EXPECT_DOUBLE_EQ(learning_rate_at(optim, 0, 5), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate_at(optim, 4, 5), 0.5);
  EXPECT_DOUBLE_EQ(learning_rate_at(optim, 9, 5), 1);
  EXPECT_DOUBLE_EQ(learning_rate_at(optim, 40, 5), 1);
}

}  // namespace
}  // namespace ekd

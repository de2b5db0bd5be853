#include "study/plan_rows.h"

#include <gtest/gtest.h>

#include <numeric>

namespace ekd {
namespace {

class PlanGroups : public ::testing::Test {
 protected:
  PlanGroups() {
    const std::filesystem::path configs = std::filesystem::path(EKD_GOLDEN_DIR) / "../../configs/cifar100";
    request_.plan = read_plan(configs / "paper.json");
    request_.plan.seeds = {0, 1};
    request_.out = "absent";
    rows_ = unroll_plan(request_);
  }

  std::size_t index(const std::string& name, std::int64_t seed = 0) const {
    const auto found =
        std::ranges::find_if(rows_, [&](const PlanRow& row) { return row.name == name && row.seed == seed; });
    return static_cast<std::size_t>(found - rows_.begin());
  }

  // Names of the group of seed 0's row among all rows.
  std::vector<std::string> group(const std::string& first, std::size_t limit = 16) const {
    std::vector<std::size_t> all(rows_.size());
    std::iota(all.begin(), all.end(), 0);
    std::vector<std::string> names;
    for (const std::size_t i : training_group(rows_, index(first), all, limit)) {
      EXPECT_EQ(rows_[i].seed, 0);
      names.push_back(rows_[i].name);
    }
    return names;
  }

  PlanRequest request_;
  std::vector<PlanRow> rows_;
};

using Names = std::vector<std::string>;

TEST_F(PlanGroups, StudentsWithATeacherInCommonGoTogether) {
  EXPECT_EQ(group("kd-none"), (Names{"kd-none", "kd-none-T4"}));
  EXPECT_EQ(group("kd-mixup"), (Names{"kd-mixup", "kd-cutmix", "kd-augmix", "kd-cutout", "kd-add", "kd-avg",
                                      "kd-avg-softmax", "kd-add-T4", "kd-avg-T4"}));
  EXPECT_EQ(group("kd-mixup", 2), (Names{"kd-mixup", "kd-add"}));
  EXPECT_EQ(group("kd-mixup", 1), Names{"kd-mixup"});
  EXPECT_EQ(group("teacher-none"), Names{"teacher-none"});
  EXPECT_EQ(group("student"), Names{"student"});
}

TEST_F(PlanGroups, WhatChangesTheBatchesKeepsRowsApart) {
  const auto apart = [&](auto change) {
    PlanRow row = rows_[index("kd-avg")];
    change(row.config);
    return !same_batches(row, rows_[index("kd-add")]);
  };
  EXPECT_TRUE(apart([](Config& config) { config.optim.batch_size = 32; }));
  EXPECT_TRUE(apart([](Config& config) { config.optim.epochs = 1; }));
  EXPECT_TRUE(apart([](Config& config) { config.augment.rotation = 0; }));
  EXPECT_TRUE(apart([](Config& config) { config.data.train_limit = 9; }));
  EXPECT_TRUE(apart([](Config& config) { config.run.precision = "fp32"; }));
  EXPECT_TRUE(apart([](Config& config) { config.run.seed = 9; }));
  EXPECT_FALSE(apart([](Config& config) {
    config.optim.lr = 1;
    config.optim.schedule = "cosine";
    config.distill.temperature = 2;
    config.model.name = "wrn_40_2";
    config.augment.augmix_js_weight = 1;
    config.eval.every = 5;
  }));
}

}  // namespace
}  // namespace ekd

// What is drawn for AugMix; the operations and the mixing are tested with the kernel.
#include "augment/augmentations.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "ekd/kernels/augmix_op.h"
#include "tests/augment/fixtures.h"

namespace ekd {
namespace {

const ImageSize kSize{32, 32};

double amount(AugmixOp op, double level, bool negative = false, ImageSize size = kSize) {
  return augmix_amount(static_cast<int>(op), level, negative, size);
}

TEST(AugmixStrengths, ByHand) {
  EXPECT_EQ(amount(AugmixOp::kPosterize, 2.4), 4);  // 4 - ⌊.96⌋
  EXPECT_EQ(amount(AugmixOp::kPosterize, 2.6), 3);  // 4 - ⌊1.04⌋
  EXPECT_EQ(amount(AugmixOp::kRotate, 2.99), 8);    // ⌊8.97⌋
  EXPECT_EQ(amount(AugmixOp::kRotate, 0.3, true), 0);
  EXPECT_EQ(amount(AugmixOp::kRotate, 10, true), -30);
  EXPECT_EQ(amount(AugmixOp::kSolarize, 3), 180);  // 256 - ⌊76.8⌋
  EXPECT_EQ(amount(AugmixOp::kSolarize, 0.1), 254);
  EXPECT_NEAR(amount(AugmixOp::kShearX, 3), 0.09, 1e-15);
  EXPECT_NEAR(amount(AugmixOp::kShearY, 0.5, true), -0.015, 1e-15);
  EXPECT_EQ(amount(AugmixOp::kTranslateX, 3), 3);  // ⌊3.2⌋
  EXPECT_EQ(amount(AugmixOp::kTranslateY, 2.8, true), -2);
  EXPECT_EQ(amount(AugmixOp::kTranslateX, 3, false, {32, 64}), 6);  // a third of the width: ⌊6.4⌋
  EXPECT_EQ(amount(AugmixOp::kTranslateY, 3, false, {32, 64}), 3);
  EXPECT_EQ(amount(AugmixOp::kEqualize, 3), 0);
}

class AugmixDraws : public testing::Test {
 protected:
  static constexpr std::int64_t kRows = 3'000, kChains = kRows * 2 * 3;
  const AugmixTables tables_ = draw_augmix(1, 0, kRows, kSize, AugmentConfig{});
};

// 18,000 chains: 6,000 of each depth, standard deviation √(18,000 · 2/9) = 63. No operation follows the end of a chain.
TEST_F(AugmixDraws, DepthsAreUniform) {
  const auto present = tables_.operations.ne(0).view({kChains, 3});
  const auto depths = present.sum(1);
  for (int depth = 1; depth <= 3; ++depth) EXPECT_NEAR(depths.eq(depth).sum().item<int>(), 6'000, 5 * 63);
  EXPECT_TRUE(present.narrow(1, 1, 2).le(present.narrow(1, 0, 2)).all().item<bool>());
}

TEST_F(AugmixDraws, OperationsAreUniform) {
  const double count = tables_.operations.ne(0).sum().item<double>();
  for (int op = 1; op <= kAugmixOps; ++op)
    EXPECT_NEAR(tables_.operations.eq(op).sum().item<double>(), count / 9, 5 * std::sqrt(count * 8) / 9) << op;
}

// Shear .03 · level, level uniform in .1 … 3, half of them negative: mean |x| .03 · 1.55, standard deviation of |x|
// .03 · 2.9 / √12 = .0251.
TEST_F(AugmixDraws, LevelsAndSignsAreUniform) {
  const auto shears = tables_.amounts.masked_select(tables_.operations.eq(static_cast<int>(AugmixOp::kShearX)));
  const double count = static_cast<double>(shears.numel());
  EXPECT_NEAR(shears.abs().mean().item<double>(), 0.0465, 5 * 0.0251 / std::sqrt(count));
  EXPECT_NEAR(shears.lt(0).sum().item<double>(), count / 2, 5 * std::sqrt(count) / 2);
  EXPECT_LT(shears.abs().max().item<double>(), 0.09);
  EXPECT_GT(shears.abs().min().item<double>(), 0.003);
}

// Dirichlet(1, 1, 1): mean 1/3, variance 1/18; m uniform: mean 1/2, variance 1/12.
TEST_F(AugmixDraws, Weights) {
  const auto weights = tables_.weights.narrow(2, 0, 3).to(at::kDouble),
             share = tables_.weights.select(2, 3).to(at::kDouble);
  EXPECT_TRUE(weights.sum(2).sub(1).abs().le(1e-6).all().item<bool>());
  for (int chain = 0; chain < 3; ++chain)
    EXPECT_NEAR(weights.select(2, chain).mean().item<double>(), 1.0 / 3, 5 * std::sqrt(1.0 / 18 / (2 * kRows)));
  EXPECT_NEAR(weights.select(2, 0).var().item<double>(), 1.0 / 18, 0.005);
  EXPECT_NEAR(share.mean().item<double>(), 0.5, 5 * std::sqrt(1.0 / 12 / (2 * kRows)));
  EXPECT_NEAR(share.var().item<double>(), 1.0 / 12, 0.005);
  EXPECT_FALSE(share.select(1, 0).equal(share.select(1, 1)));
}

// Settings of one thing don't move the draws of another.
TEST(AugmixSettings, DepthLeavesOtherDraws) {
  AugmentConfig deep;
  deep.augmix_depth = 6;
  const AugmixTables a = draw_augmix(1, 0, 50, kSize, AugmentConfig{}), b = draw_augmix(1, 0, 50, kSize, deep);
  EXPECT_TRUE(a.weights.equal(b.weights));
  EXPECT_TRUE(a.views.equal(b.views));
  EXPECT_TRUE(a.operations.select(3, 0).equal(b.operations.select(3, 0)));
}

TEST(AugmixBatch, FirstViewIsCleanAndTargetsAreHard) {
  const auto context = noise_context("augmix");
  const auto augmentation = make_augmentation(context);
  augmentation->begin_epoch(0);
  const Batch batch = augmentation->batch(rows_up_to(16), 0);
  EXPECT_EQ(batch.views, 3);
  EXPECT_EQ(batch.images.size(0), 48);
  EXPECT_TRUE(batch.targets.gt(0).sum(1).eq(1).all().item<bool>());
  const auto clean = batch.images.narrow(0, 0, 16);
  for (const int view : {1, 2}) EXPECT_FALSE(batch.images.narrow(0, 16 * view, 16).equal(clean));
}

}  // namespace
}  // namespace ekd

// Mixup against plain tensor operations, and what it draws.
#include "augment/augmentations.h"

#include <ATen/TensorOperators.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/augment/fixtures.h"

namespace ekd {
namespace {

// The batch is that of no augmentation, mixed by plain tensor operations.
TEST(Mixup, EqualsPlainTensorOperations) {
  auto context = noise_context("mixup");
  const auto mixup = make_augmentation(context);
  context.config.name = "none";
  const auto none = make_augmentation(context);
  for (const auto& augmentation : {mixup.get(), none.get()}) augmentation->begin_epoch(2);
  const auto rows = rows_up_to(40).narrow(0, 16, 16);
  const Batch mixed = mixup->batch(rows, 1), plain = none->batch(rows, 1);
  const auto [factor, partner] = draw_mixup(11, 2, 1, 16, context.config.mixup_alpha);
  const auto expected = [&](const at::Tensor& own) {
    return own * factor + own.index_select(0, partner) * (1 - factor);
  };
  EXPECT_TRUE(mixed.images.equal(expected(plain.images)));
  EXPECT_TRUE(mixed.targets.equal(expected(plain.targets)));
  EXPECT_TRUE(mixed.labels.equal(plain.labels));
}

// E max(λ, 1 - λ) = 1/2 + the mean absolute deviation of Beta(.3, .3) (see samplers_test.cpp): .8747.
TEST(Mixup, FactorsOfBatches) {
  constexpr std::int64_t kBatches = 20'000;
  const double deviation = 2 * std::pow(0.3, 0.6) / (std::beta(0.3, 0.3) * std::pow(0.6, 1.6));
  double sum = 0, squares = 0;
  for (std::int64_t index = 0; index < kBatches; ++index) {
    const double factor = draw_mixup(1, 0, index, 2, 0.3).factor.item<double>();
    sum += std::max(factor, 1 - factor);
    squares += std::pow(std::max(factor, 1 - factor), 2);
  }
  const double mean = sum / kBatches;
  EXPECT_NEAR(mean, 0.5 + deviation, 5 * std::sqrt((squares / kBatches - mean * mean) / kBatches));
}

TEST(Mixup, DrawsAreCountedByBatch) {
  const auto draw = [](std::uint32_t seed, std::uint32_t epoch, std::int64_t index) {
    return draw_mixup(seed, epoch, index, 64, 0.3);
  };
  EXPECT_TRUE(draw(1, 2, 3).partner.equal(draw(1, 2, 3).partner));
  for (const auto& other : {draw(2, 2, 3), draw(1, 3, 3), draw(1, 2, 4)}) {
    EXPECT_FALSE(draw(1, 2, 3).partner.equal(other.partner));
    EXPECT_NE(draw(1, 2, 3).factor.item<float>(), other.factor.item<float>());
  }
}

// 40 rows in batches of 16: the last has 8, and its partners are among them. Image r is r everywhere.
TEST(Mixup, LastSmallerBatch) {
  const auto images = rows_up_to(40).to(at::kByte).view({40, 1, 1, 1}).expand({40, 1, 6, 6}).contiguous();
  const auto augmentation = make_augmentation(plain_context("mixup", images, 40));
  augmentation->begin_epoch(7);
  const Batch batch = augmentation->batch(rows_up_to(40).narrow(0, 32, 8), 2);
  const MixupDraws draws = draw_mixup(11, 7, 2, 8, 0.3);
  const auto own = rows_up_to(8).add(32).to(at::kFloat), factor = draws.factor;
  const auto expected = own.mul(factor).add(own.index_select(0, draws.partner).mul(factor.neg().add(1))).div(255);
  EXPECT_TRUE(batch.images.select(1, 0).select(1, 3).select(1, 3).allclose(expected));
  EXPECT_TRUE(batch.targets.narrow(1, 0, 32).eq(0).all().item<bool>());
  EXPECT_THROW(augmentation->batch(rows_up_to(16), 2), c10::Error);
  EXPECT_THROW(augmentation->batch(rows_up_to(8), 3), c10::Error);
}

}  // namespace
}  // namespace ekd

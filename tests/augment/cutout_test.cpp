// Cutout by hand, and the share of an epoch's pixels it masks.
#include "ekd/augment/cutout.h"

#include <ATen/ops/full.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "ekd/augment/box.h"
#include "tests/augment/fixtures.h"

namespace ekd {
namespace {

TEST(Cutout, BoxesAreClipped) {
  const auto box = [](std::int64_t side, std::int64_t x, std::int64_t y) {
    const Box b = cutout_box(side, x, y, {32, 40});
    return std::array{b.x1, b.y1, b.x2, b.y2};
  };
  EXPECT_EQ(box(16, 20, 16), (std::array{12, 8, 28, 24}));
  EXPECT_EQ(box(16, 0, 31), (std::array{0, 23, 8, 32}));
  EXPECT_EQ(box(5, 39, 10), (std::array{37, 8, 40, 13}));
}

TEST(Cutout, ByHand) {
  Batch batch;
  batch.images = at::full({2, 3, 4, 5}, 2.5F).contiguous(at::MemoryFormat::ChannelsLast);
  batch.labels = rows_up_to(2);
  const Batch cut = cutout(batch, {at::tensor({1, 2, 4, 4, 0, 0, 5, 1}, at::kInt).view({2, 4})});
  auto expected = at::full({2, 3, 4, 5}, 2.5F);
  expected[0].narrow(1, 2, 2).narrow(2, 1, 3).fill_(0);
  expected[1].narrow(1, 0, 1).fill_(0);
  EXPECT_TRUE(cut.images.equal(expected));
  EXPECT_TRUE(cut.images.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(batch.images.eq(2.5).all().item<bool>());
}

// An axis keeps 8 + min(8, c) + … of 16 pixels: 448 over the 32 centres, 14 on average: (14/32)² = .1914 of the image.
TEST(Cutout, MeanMaskedShare) {
  constexpr std::int64_t kImages = 4'000;
  const auto images = at::full({kImages, 1, 32, 32}, 255, at::kByte);
  const auto augmentation = make_augmentation(plain_context("cutout", images, 10));
  augmentation->begin_epoch(0);
  const auto share = augmentation->batch(rows_up_to(kImages), 0).images.eq(0).to(at::kDouble).mean({1, 2, 3});
  EXPECT_NEAR(share.mean().item<double>(), 14.0 * 14 / 1024,
              5 * share.std().item<double>() / std::sqrt(double{kImages}));
}

// Zeros come after normalising: they are the mean, not black.
TEST(Cutout, ZerosAreTheMean) {
  auto context = plain_context("cutout", at::full({20, 3, 32, 32}, 200, at::kByte), 10);
  context.normalisation = Normalisation{};
  const auto augmentation = make_augmentation(context);
  augmentation->begin_epoch(0);
  const auto images = augmentation->batch(rows_up_to(20), 0).images;
  EXPECT_EQ(images.min().item<float>(), 0);
  EXPECT_GT(images.max().item<float>(), 1);
}

}  // namespace
}  // namespace ekd

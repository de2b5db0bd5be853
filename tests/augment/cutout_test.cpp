// Cutout against plain tensor operations, and the share of an epoch's pixels it masks.
#include "augment/augmentations.h"

#include <ATen/ops/full.h>
#include <ATen/ops/where.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "augment/parts.h"
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

// The batch is that of no augmentation, with zeros where the boxes are.
TEST(Cutout, EqualsPlainTensorOperations) {
  auto context = noise_context("cutout");
  const auto cut = make_augmentation(context);
  context.config.name = "none";
  const auto none = make_augmentation(context);
  for (const auto& augmentation : {cut.get(), none.get()}) augmentation->begin_epoch(3);
  const auto rows = rows_up_to(40).narrow(0, 8, 16);
  const Batch blanked = cut->batch(rows, 0), own = none->batch(rows, 0);
  const auto boxes = draw_cutout(11, 3, 40, {32, 32}, context.config.cutout_size).boxes.narrow(0, 8, 16);
  EXPECT_TRUE(blanked.images.equal(at::where(inside_boxes(boxes, {32, 32}), 0.0, own.images)));
  EXPECT_TRUE(blanked.targets.equal(own.targets));
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

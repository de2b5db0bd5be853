// CutMix: boxes against reference values, pasting by hand, and what both modes draw.
#include "ekd/augment/cutmix.h"

#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ekd/augment/box.h"
#include "ekd/core/tensor_file.h"
#include "tests/augment/fixtures.h"

namespace ekd {
namespace {

const ImageSize kSize{32, 32};

TEST(Cutmix, BoxesAgreeWithTheReference) {
  const TensorFile file = read_tensor_file(EKD_GOLDEN_DIR "/cutmix_boxes.safetensors");
  const auto* factor = file.at("lambda").const_data_ptr<double>();
  const auto* x = file.at("cx").const_data_ptr<std::int64_t>();
  const auto* y = file.at("cy").const_data_ptr<std::int64_t>();
  const auto* expected = file.at("box_x1_y1_x2_y2_lambda").const_data_ptr<double>();
  const std::int64_t count = file.at("lambda").size(0);
  ASSERT_EQ(count, 64);
  for (std::int64_t i = 0; i < count; ++i, expected += 5) {
    const Box box = cutmix_box(factor[i], x[i], y[i], kSize);
    EXPECT_EQ(box.x1, expected[0]);
    EXPECT_EQ(box.y1, expected[1]);
    EXPECT_EQ(box.x2, expected[2]);
    EXPECT_EQ(box.y2, expected[3]);
    EXPECT_EQ(cutmix_weight(box, kSize), expected[4]);
  }
}

// 8 rows of 16 columns, λ = 3/4: sides √¼ = half, so 4 high and 8 wide; about (14, 1): columns 10 … 16 (18 clipped),
// rows 0 (-1 clipped) … 3: 6 · 3 of 128 pixels.
TEST(Cutmix, BoxOfAWideImage) {
  const Box box = cutmix_box(0.75, 14, 1, {8, 16});
  EXPECT_EQ((std::array{box.x1, box.y1, box.x2, box.y2}), (std::array{10, 0, 16, 3}));
  EXPECT_EQ(cutmix_weight(box, {8, 16}), 1 - 18.0 / 128);
}

TEST(Cutmix, ByHand) {
  Batch batch;
  batch.images = at::zeros({2, 3, 4, 6}, at::kFloat).contiguous(at::MemoryFormat::ChannelsLast);
  batch.targets = at::tensor({1.0F, 0.0F, 0.0F, 1.0F}).view({2, 2});
  batch.labels = rows_up_to(2);
  const auto partners = at::full({2, 3, 4, 6}, 5.0F).contiguous(at::MemoryFormat::ChannelsLast);
  // The first: columns 1, 2 of rows 0 … 2, 6 of 24 pixels; the second: nothing.
  const CutmixDraws draws{at::tensor({1, 0, 3, 3, 2, 2, 2, 4}, at::kInt).view({2, 4}), at::tensor({0.75F, 1.0F})};
  const Batch mixed = cutmix(batch, partners, at::tensor({0.0F, 1.0F, 1.0F, 0.0F}).view({2, 2}), draws);
  auto expected = at::zeros({2, 3, 4, 6}, at::kFloat);
  expected[0].narrow(1, 0, 3).narrow(2, 1, 2).fill_(5);
  EXPECT_TRUE(mixed.images.equal(expected));
  EXPECT_TRUE(mixed.images.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(mixed.targets.equal(at::tensor({0.75F, 0.25F, 0.0F, 1.0F}).view({2, 2})));
  EXPECT_TRUE(batch.images.eq(0).all().item<bool>());
}

// λ uniform: P(c = k) = ((k + 1)² - k²) / 32² for the side c = ⌊32 √(1 - λ)⌋; a side 2⌊k/2⌋ about a uniform centre
// shows on average L(k) pixels, so E weight = 1 - Σ P(c = k) L(k)² / 32² = .70.
TEST(Cutmix, MeanWeight) {
  constexpr std::int64_t kRows = 50'000;
  double expected = 1;
  for (int k = 0; k < 32; ++k) {
    double shown = 0;
    for (int centre = 0; centre < 32; ++centre)
      shown += (std::min(centre + k / 2, 32) - std::max(centre - k / 2, 0)) / 32.0;
    expected -= (2 * k + 1) / 1024.0 * shown * shown / 1024;
  }
  const auto weight = draw_cutmix(1, 0, kRows, kSize, 1).draws.weight.to(at::kDouble);
  EXPECT_NEAR(expected, 0.70, 0.005);
  EXPECT_NEAR(weight.mean().item<double>(), expected, 5 * weight.std().item<double>() / std::sqrt(double{kRows}));
}

// Partners are uniform over the set: mean (N - 1) / 2, variance (N² - 1) / 12.
TEST(Cutmix, PartnersAreUniformOverTheSet) {
  constexpr double kRows = 30'000;
  const auto partner = draw_cutmix(1, 0, 30'000, kSize, 1).partner.to(at::kDouble);
  EXPECT_NEAR(partner.mean().item<double>(), (kRows - 1) / 2, 5 * std::sqrt(kRows / 12));
  EXPECT_NEAR(partner.var().item<double>(), kRows * kRows / 12, 5 * kRows * kRows / std::sqrt(180 * kRows));
  EXPECT_EQ(partner.min().item<double>() >= 0 && partner.max().item<double>() < kRows, true);
}

// Image r is r everywhere and has label r: the batch shows how many pixels are whose, and the targets must say the
// same.
void expect_targets_match_pixels(const Batch& batch, std::int64_t pixels) {
  for (std::int64_t b = 0; b < batch.size(); ++b) {
    const auto values = batch.images[b].mul(255).round().to(at::kLong).flatten();
    const auto shares = values.bincount({}, batch.targets.size(1)).to(at::kFloat).div(static_cast<double>(pixels));
    EXPECT_TRUE(batch.targets[b].allclose(shares, 0, 1e-6)) << b;
  }
}

TEST(Cutmix, TargetsSayWhosePixelsAreShown) {
  const auto images = rows_up_to(40).to(at::kByte).view({40, 1, 1, 1}).expand({40, 1, 20, 12}).contiguous();
  for (const auto* mode : {"image", "batch"}) {
    auto context = plain_context("cutmix", images, 40);
    context.config.cutmix_mode = mode;
    const auto augmentation = make_augmentation(context);
    augmentation->begin_epoch(1);
    expect_targets_match_pixels(augmentation->batch(rows_up_to(16), 0), 240);
    const Batch last = augmentation->batch(rows_up_to(40).narrow(0, 32, 8), 2);
    expect_targets_match_pixels(last, 240);
    if (context.config.cutmix_mode == "batch") {  // one box, partners from the batch
      EXPECT_TRUE(last.targets.narrow(1, 0, 32).eq(0).all().item<bool>());
      const CutmixTable drawn = draw_cutmix_batch(11, 1, 2, 8, {20, 12}, 1);
      EXPECT_TRUE(last.targets[3][35].item<float>() >= drawn.draws.weight[0].item<float>());
    }
  }
}

// A partner is seen through a view of its own: with one image in the set, what is pasted is that image under other
// draws.
TEST(Cutmix, PartnersHaveTheirOwnView) {
  auto context = noise_context("cutmix", 1);
  context.config.cutmix_alpha = 1e-12;  // λ is 0 or 1; where 0 the box is the whole image, if centred
  const auto cut = make_augmentation(context);
  context.config.name = "none";
  const auto none = make_augmentation(context);
  int differ = 0;
  for (std::int64_t epoch = 0; epoch < 20; ++epoch) {
    cut->begin_epoch(epoch);
    none->begin_epoch(epoch);
    const Batch batch = cut->batch(rows_up_to(1), 0);
    const bool pasted =
        draw_cutmix(11, static_cast<std::uint32_t>(epoch), 1, kSize, 1e-12).draws.weight[0].item<float>() < 1;
    const bool same = batch.images.equal(none->batch(rows_up_to(1), 0).images);
    EXPECT_EQ(pasted, !same) << epoch;
    differ += !same;
  }
  EXPECT_GT(differ, 3);
  EXPECT_LT(differ, 17);
}

}  // namespace
}  // namespace ekd

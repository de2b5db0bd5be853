// CutMix: boxes against reference values, pasting against plain tensor operations, and what both modes draw.
#include "augment/augmentations.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/where.h>
#include <gtest/gtest.h>

#include <cmath>

#include "augment/parts.h"
#include "ekd/core/tensor_file.h"
#include "ekd/kernels/views.h"
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

// Per image: the batch of no augmentation, and partners seen through views that are drawn for the rows they come to.
TEST(Cutmix, EqualsPlainTensorOperations) {
  auto context = noise_context("cutmix");
  const auto cut = make_augmentation(context);
  context.config.name = "none";
  const auto none = make_augmentation(context);
  for (const auto& augmentation : {cut.get(), none.get()}) augmentation->begin_epoch(3);
  const auto rows = rows_up_to(40).narrow(0, 8, 16);
  const Batch pasted = cut->batch(rows, 0), own = none->batch(rows, 0);
  const auto [draws, partner] = draw_cutmix(11, 3, 40, kSize, context.config.cutmix_alpha);
  const auto views = draw_base_views(11, RandomStream::kCutmixView, 3, 40, kSize, context.config);
  const auto others = partner.narrow(0, 8, 16);
  const auto other = base_view(context.train.images, {others, views, rows}, context.normalisation);
  EXPECT_TRUE(pasted.images.equal(at::where(inside_boxes(draws.boxes.narrow(0, 8, 16), kSize), other, own.images)));
  const auto weight = draws.weight.narrow(0, 8, 16).unsqueeze(1);
  EXPECT_TRUE(pasted.targets.equal(own.targets * weight + one_hot_targets(others.remainder(10), 10) * (1 - weight)));
  EXPECT_TRUE(pasted.labels.equal(own.labels));
}

// Per batch: one box for all, partners of the same batch seen as they see themselves.
TEST(Cutmix, OfABatchEqualsPlainTensorOperations) {
  auto context = noise_context("cutmix");
  context.config.cutmix_mode = "batch";
  const auto cut = make_augmentation(context);
  context.config.name = "none";
  const auto none = make_augmentation(context);
  for (const auto& augmentation : {cut.get(), none.get()}) augmentation->begin_epoch(3);
  const auto rows = rows_up_to(40).narrow(0, 16, 16);
  const Batch pasted = cut->batch(rows, 1), own = none->batch(rows, 1);
  const auto [draws, partner] = draw_cutmix_batch(11, 3, 1, 16, kSize, context.config.cutmix_alpha);
  const auto other = own.images.index_select(0, partner);
  EXPECT_TRUE(pasted.images.equal(at::where(inside_boxes(draws.boxes, kSize), other, own.images)));
  EXPECT_TRUE(
      pasted.targets.equal(own.targets * draws.weight + own.targets.index_select(0, partner) * (1 - draws.weight)));
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

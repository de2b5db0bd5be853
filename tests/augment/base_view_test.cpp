// What is drawn for the base view, and what comes of it.
#include "ekd/augment/base_view.h"

#include <ATen/ops/full.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "ekd/kernels/pixels.h"
#include "tests/augment/fixtures.h"

namespace ekd {
namespace {

const ImageSize kSize{32, 32};
constexpr std::int64_t kRows = 20'000;

const ViewParams* views_of(const at::Tensor& views) {
  return reinterpret_cast<const ViewParams*>(views.const_data_ptr<std::int32_t>());
}

TEST(BaseViewDraws, CropsAndFlipsAreUniform) {
  const AugmentConfig config;
  const at::Tensor drawn = draw_base_views(1, RandomStream::kBaseView, 0, kRows, kSize, config);
  std::array<int, 9> tops{}, lefts{};
  int flips = 0;
  for (std::int64_t row = 0; row < kRows; ++row) {
    const ViewParams& view = views_of(drawn)[row];
    ++tops.at(static_cast<std::size_t>(view.top + 4));
    ++lefts.at(static_cast<std::size_t>(view.left + 4));
    flips += view.flip;
  }
  // Counts of 20,000 / 9 = 2,222 with standard deviation 44; 10,000 flips with 71.
  for (const auto& counts : {tops, lefts})
    for (const int count : counts) EXPECT_NEAR(count, 2'222, 5 * 44);
  EXPECT_NEAR(flips, 10'000, 5 * 71);
}

// a[1] of the fixed matrix is sin(-angle) · 65536. A uniform angle in ±15° has mean 0 and variance 15² / 3 = 75.
TEST(BaseViewDraws, AnglesAreUniform) {
  const at::Tensor drawn = draw_base_views(1, RandomStream::kBaseView, 0, kRows, kSize, AugmentConfig{});
  double sum = 0, squares = 0, largest = 0;
  for (std::int64_t row = 0; row < kRows; ++row) {
    const double degrees = -std::asin(views_of(drawn)[row].rotation.a[1] / 65536.0) * 180 / 3.14159265358979;
    sum += degrees;
    squares += degrees * degrees;
    largest = std::max(largest, std::fabs(degrees));
  }
  EXPECT_NEAR(sum / kRows, 0, 5 * std::sqrt(75.0 / kRows));
  EXPECT_NEAR(squares / kRows, 75, 5 * std::sqrt(4.0 / 45 * 50625 / kRows));  // variance of x²: 4/45 · 15⁴
  EXPECT_LE(largest, 15.001);
  EXPECT_GT(largest, 14.98);
}

TEST(BaseViewDraws, CountedByRowEpochSeedAndStream) {
  const auto draw = [](std::uint32_t seed, RandomStream stream, std::uint32_t epoch, std::int64_t count) {
    return draw_base_views(seed, stream, epoch, count, kSize, AugmentConfig{});
  };
  const at::Tensor all = draw(1, RandomStream::kBaseView, 3, 500);
  EXPECT_TRUE(all.narrow(0, 0, 77).equal(draw(1, RandomStream::kBaseView, 3, 77)));
  EXPECT_FALSE(all.equal(draw(2, RandomStream::kBaseView, 3, 500)));
  EXPECT_FALSE(all.equal(draw(1, RandomStream::kCutmixView, 3, 500)));
  EXPECT_FALSE(all.equal(draw(1, RandomStream::kBaseView, 4, 500)));
}

TEST(BaseViewDraws, NothingToDrawIsPlainNormalising) {
  const auto images = noise_images(20, 3, 32, 32);
  const auto context = plain_context("none", images, 10);
  const auto none = make_augmentation(context);
  none->begin_epoch(0);
  EXPECT_TRUE(none->batch(rows_up_to(20), 0).images.equal(clean_view(images, context.normalisation)));
}

// White images, cropped only: an axis loses |d| of 32 pixels, d uniform in -4 … 4, 20/9 on average; so the mean pixel
// is (1 - 20/9/32)² = .86593. As E(32 - |d|)² = 32² - 64 · 20/9 + 60/9 = 888.44 for an axis, the variance of an image's
// mean is (888.44 / 32²)² - .86593².
TEST(BaseViewDraws, CropsShowTheExpectedShareOfPadding) {
  constexpr std::int64_t kImages = 4'000;
  auto context = plain_context("none", at::full({kImages, 1, 32, 32}, 255, at::kByte), 10);
  context.config.crop_padding = 4;
  const auto none = make_augmentation(context);
  none->begin_epoch(0);
  const double share = none->batch(rows_up_to(kImages), 0).images.mean().item<double>();
  const double axis = 1 - 20.0 / 9 / 32, square = (1024 - 64 * 20.0 / 9 + 60.0 / 9) / 1024;
  EXPECT_NEAR(share, axis * axis, 5 * std::sqrt((square * square - std::pow(axis, 4)) / kImages));
}

TEST(BaseViewDraws, OneHotTargets) {
  const auto targets = one_hot_targets(rows_up_to(4).remainder(3), 3);
  EXPECT_TRUE(targets.sum(1).eq(1).all().item<bool>());
  EXPECT_EQ(targets[3][0].item<float>(), 1);
  EXPECT_EQ(targets[2][2].item<float>(), 1);
}

// At 32×32 pixels are what the setting says; elsewhere the same share of the shorter side.
TEST(ScaledPixels, AreAShareOfTheSide) {
  for (std::int64_t pixels = 0; pixels <= 32; ++pixels) EXPECT_EQ(scaled_pixels(pixels, {32, 32}), pixels);
  EXPECT_EQ(scaled_pixels(4, {64, 64}), 8);
  EXPECT_EQ(scaled_pixels(16, {64, 96}), 32);
  EXPECT_EQ(scaled_pixels(4, {28, 28}), 4);  // 3.5
  EXPECT_EQ(scaled_pixels(16, {28, 28}), 14);
  EXPECT_EQ(scaled_pixels(4, {8, 8}), 1);
}

TEST(BaseViews, CropsOfLargeImagesReachTwiceAsFar) {
  const AugmentConfig config;
  std::int32_t least = 0, most = 0;
  const at::Tensor views = draw_base_views(3, RandomStream::kBaseView, 0, 500, {64, 64}, config);
  const auto* view = views_of(views);
  for (int row = 0; row < 500; ++row) {
    least = std::min({least, view[row].top, view[row].left});
    most = std::max({most, view[row].top, view[row].left});
  }
  EXPECT_EQ(least, -8);
  EXPECT_EQ(most, 8);
}

}  // namespace
}  // namespace ekd

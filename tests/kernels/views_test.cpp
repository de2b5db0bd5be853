// The base view against Pillow's crop, flip and rotate, and against torchvision's normalising, bit for bit.
#include "ekd/kernels/views.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "ekd/core/tensor_file.h"
#include "ekd/kernels/pixels.h"
#include "tests/kernels/noise_views.h"

namespace ekd {
namespace {

const Normalisation kUnit{{0, 0, 0}, {1, 1, 1}};

at::Tensor rows_up_to(std::int64_t count) { return at::arange(count, at::kLong); }

at::Tensor to_bytes(const at::Tensor& unit_images) { return unit_images.mul(255).round_().to(at::kByte).contiguous(); }

// Views from a golden file's lists of parameters, which start with `prefix`.
at::Tensor golden_views(const TensorFile& file, const std::string& prefix, int width, int height) {
  const at::Tensor angle = file.at(prefix + "angle"), top = file.at(prefix + "top"), left = file.at(prefix + "left"),
                   flip = file.at(prefix + "flip");
  const at::Tensor views = at::zeros({angle.size(0), kViewWords}, at::kInt);
  auto* view = reinterpret_cast<ViewParams*>(views.mutable_data_ptr<std::int32_t>());
  for (std::int64_t k = 0; k < angle.size(0); ++k)
    view[k] = {fixed_affine(rotation_matrix(angle.const_data_ptr<double>()[k], width, height)),
               static_cast<std::int32_t>(left.const_data_ptr<std::int64_t>()[k]),
               static_cast<std::int32_t>(top.const_data_ptr<std::int64_t>()[k]),
               static_cast<std::int32_t>(flip.const_data_ptr<std::int64_t>()[k])};
  return views;
}

TEST(BaseView, AgreesWithPillowBitForBit) {
  const TensorFile file = read_tensor_file(EKD_GOLDEN_DIR "/base_view.safetensors");
  int compared = 0;
  for (const auto& [name, images] : file.tensors) {
    if (!name.ends_with(".images")) continue;
    const std::string set = name.substr(0, name.size() - 6);
    for (const auto order : {ViewOrder::kCropFlipRotate, ViewOrder::kRotateFlipCrop}) {
      const std::string prefix =
          set + (order == ViewOrder::kCropFlipRotate ? "crop_flip_rotate." : "rotate_flip_crop.");
      const at::Tensor& expected = file.at(prefix + "output");
      const auto views = golden_views(file, prefix, static_cast<int>(images.size(3)), static_cast<int>(images.size(2)));
      const auto cases = rows_up_to(expected.size(0));
      const auto got = to_bytes(base_view(images, {cases.remainder(images.size(0)), views, cases, order}, kUnit));
      EXPECT_EQ(got.ne(expected).sum().item<std::int64_t>(), 0) << prefix;
      compared += static_cast<int>(expected.size(0));
    }
  }
  EXPECT_GE(compared, 48);
}

TEST(BaseView, NormalisesWithTorchvisionsArithmetic) {
  const TensorFile file = read_tensor_file(EKD_GOLDEN_DIR "/base_view.safetensors");
  const auto bytes = at::arange(256, at::kByte).view({1, 1, 16, 16}).expand({1, 3, 16, 16}).contiguous();
  const auto got = normalised_images(bytes, Normalisation{});
  EXPECT_TRUE(got.contiguous().view({3, 256}).equal(file.at("normalised")));
  EXPECT_TRUE(got.is_contiguous(at::MemoryFormat::ChannelsLast));
}

TEST(BaseView, IdentityIsPlainNormalising) {
  const auto images = noise_images(5, 3, 20, 12);
  const auto views = at::tensor({65536, 0, 32768, 0, 65536, 32768, 0, 0, 0}, at::kInt).view({1, kViewWords});
  for (const auto order : {ViewOrder::kCropFlipRotate, ViewOrder::kRotateFlipCrop}) {
    const auto got = base_view(images, {rows_up_to(5), views, at::zeros({5}, at::kLong), order}, Normalisation{});
    EXPECT_TRUE(got.equal(normalised_images(images, Normalisation{})));
    EXPECT_TRUE(got.is_contiguous(at::MemoryFormat::ChannelsLast));
  }
}

// A row of 3 pixels (10, 20, 30), cropped one pixel to the right: (20, 30, 0); flipped: (0, 30, 20). The crop of the
// flipped image (30, 20, 10) is (20, 10, 0).
TEST(BaseView, CropAndFlipByHand) {
  const auto image = at::tensor({10, 20, 30}, at::kByte).view({1, 1, 1, 3});
  const FixedAffine still = fixed_affine(rotation_matrix(0, 3, 1));
  const ViewParams view{still, /*left=*/1, /*top=*/0, /*flip=*/1};
  const auto views = at::zeros({1, kViewWords}, at::kInt);
  *reinterpret_cast<ViewParams*>(views.mutable_data_ptr<std::int32_t>()) = view;
  const auto show = [&](ViewOrder order) {
    return to_bytes(base_view(image, {rows_up_to(1), views, rows_up_to(1), order}, kUnit)).flatten();
  };
  EXPECT_TRUE(show(ViewOrder::kCropFlipRotate).equal(at::tensor({0, 30, 20}, at::kByte)));
  EXPECT_TRUE(show(ViewOrder::kRotateFlipCrop).equal(at::tensor({20, 10, 0}, at::kByte)));
}

// Zeros of the padding are black pixels: normalised to (0 - mean) / std, not to 0.
TEST(BaseView, PaddingIsBlackBeforeNormalising) {
  const auto image = at::full({1, 1, 4, 4}, 255, at::kByte);
  const auto views = at::tensor({65536, 0, 32768, 0, 65536, 32768, 4, 0, 0}, at::kInt).view({1, kViewWords});
  const auto got = base_view(image, {rows_up_to(1), views, rows_up_to(1)}, {{0.5F, 0, 0}, {0.25F, 1, 1}});
  EXPECT_TRUE(got.eq(-2).all().item<bool>());
}

TEST(BaseView, RefusesWhatItCannotRead) {
  const auto images = noise_images(2, 3, 8, 8);
  const auto views = at::zeros({2, kViewWords}, at::kInt);
  const auto view = [&](const at::Tensor& pixels, const at::Tensor& rows) {
    return base_view(pixels, {rows, views, rows}, kUnit);
  };
  EXPECT_THROW(view(images, at::tensor({2}, at::kLong)), c10::Error);
  EXPECT_THROW(view(images, at::tensor({-1}, at::kLong)), c10::Error);
  EXPECT_THROW(view(images.to(at::kFloat), rows_up_to(2)), c10::Error);
  EXPECT_THROW(view(images.transpose(2, 3), rows_up_to(2)), c10::Error);
  EXPECT_THROW(view(noise_images(2, 4, 8, 8), rows_up_to(2)), c10::Error);
  EXPECT_EQ(view(images, rows_up_to(0)).size(0), 0);
}

// The matrices behind rotations; Pillow's own outputs are compared above and in augmix_test.cpp.
TEST(Rotation, NothingAtZeroAndAtFullTurns) {
  for (const double degrees : {0.0, 360.0, -720.0}) {
    const Affine map = rotation_matrix(degrees, 32, 24);
    const double identity[6] = {1, 0, 0, 0, 1, 0};
    for (int i = 0; i < 6; ++i) EXPECT_EQ(map.a[i], identity[i]) << degrees << " " << i;
    const FixedAffine fixed = fixed_affine(map);
    for (int y = 0; y < 24; ++y)
      for (int x = 0; x < 32; ++x) {
        const Pixel source = nearest_source(fixed, {x, y});
        ASSERT_TRUE(source.x == x && source.y == y);
      }
  }
}

// A quarter turn counter-clockwise: output (x, y) shows input (side - 1 - y, x). cos(90°) = 6e-17 rounds to 0.
TEST(Rotation, QuarterTurnIsExact) {
  const Affine map = rotation_matrix(90, 8, 8);
  EXPECT_EQ(map.a[0], 0);
  EXPECT_EQ(map.a[1], -1);
  for (int y = 0; y < 8; ++y)
    for (int x = 0; x < 8; ++x) {
      const Pixel source = nearest_source(fixed_affine(map), {x, y});
      EXPECT_TRUE(source.x == 7 - y && source.y == x) << x << " " << y;
    }
}

// sin 30° = .5 and cos 30° = .866025403784439 (15 decimals), about the centre (16, 16): a[2] = 16 - 16 cos + 16 sin.
TEST(Rotation, FifteenDecimals) {
  const Affine map = rotation_matrix(30, 32, 32);
  EXPECT_EQ(map.a[0], 0.866025403784439);
  EXPECT_EQ(map.a[1], -0.5);
  EXPECT_EQ(map.a[3], 0.5);
  EXPECT_NEAR(map.a[2], 16 - 16 * 0.866025403784439 + 8, 1e-14);
  // 65536 · .866025403784439 + .5 = 56756.3…, 65536 · -.5 + .5 = -32767.5 → floor -32768.
  EXPECT_EQ(fixed_affine(map).a[0], 56756);
  EXPECT_EQ(fixed_affine(map).a[1], -32768);
}

}  // namespace
}  // namespace ekd

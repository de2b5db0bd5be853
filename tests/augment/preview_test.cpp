// The grid by hand, and the file as another reader of PNG sees it.
#include "ekd/augment/preview.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>
#include <png.h>
#include <unistd.h>

#include <fstream>

#include "ekd/core/error.h"
#include "tests/augment/fixtures.h"

namespace ekd {
namespace {

namespace fs = std::filesystem;

class PngFile : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() / ("ekd_preview_test." + std::to_string(getpid()));
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  fs::path folder_;
};

at::Tensor decode(const fs::path& path) {
  png_image picture{};
  picture.version = PNG_IMAGE_VERSION;
  EXPECT_TRUE(png_image_begin_read_from_file(&picture, path.c_str())) << picture.message;
  EXPECT_EQ(picture.format, static_cast<png_uint_32>(PNG_FORMAT_RGB));
  const at::Tensor rgb = at::empty({picture.height, picture.width, 3}, at::kByte);
  EXPECT_TRUE(png_image_finish_read(&picture, nullptr, rgb.mutable_data_ptr<std::uint8_t>(), 0, nullptr));
  return rgb;
}

// Two columns of 1×1 images at scale 2: gaps of 2, cells of 2: 2 + 4 + 4 = 10 wide, and for three images 10 high.
// Mean .5, std .25: -2 is black, 2 white, 0 is 127.5 → 128, and beyond that is clamped.
TEST(Preview, GridByHand) {
  const Normalisation normalisation{{0.5F, 0.5F, 0.5F}, {0.25F, 0.25F, 0.25F}};
  const auto images = at::tensor({-2.0F, 0.0F, 1.0F, 9.0F, -9.0F, 0.0F, -2.0F, -2.0F, -2.0F}).view({3, 3, 1, 1});
  const auto grid = preview_grid(images, normalisation, 2, 2);
  auto expected = at::full({10, 10, 3}, 255, at::kByte);
  const auto cell = [&](int top, int left, int r, int g, int b) {
    expected.narrow(0, top, 2).narrow(1, left, 2).copy_(at::tensor({r, g, b}, at::kByte));
  };
  cell(2, 2, 0, 128, 191);  // (1 · .25 + .5) · 255 = 191.25
  cell(2, 6, 255, 0, 128);
  cell(6, 2, 0, 0, 0);
  EXPECT_TRUE(grid.equal(expected));
}

TEST(Preview, BringsBackTheBytes) {
  const auto images = noise_images(6, 3, 5, 7);
  const Normalisation normalisation;
  auto shown = images.to(at::kFloat).div(255);
  for (int c = 0; c < 3; ++c)
    shown.select(1, c)
        .sub_(normalisation.mean.at(static_cast<std::size_t>(c)))
        .div_(normalisation.std.at(static_cast<std::size_t>(c)));
  const auto grid = preview_grid(shown.contiguous(at::MemoryFormat::ChannelsLast), normalisation, 3, 1);
  EXPECT_EQ(grid.sizes(), (std::vector<std::int64_t>{2 * 6 + 1, 3 * 8 + 1, 3}));
  // The fifth image: second line, second column.
  EXPECT_TRUE(grid.narrow(0, 7, 5).narrow(1, 9, 7).permute({2, 0, 1}).equal(images[4]));
}

TEST(Preview, GreyImagesAndFewerThanAColumn) {
  const auto grid = preview_grid(at::full({1, 1, 2, 2}, 0.4F), {{0, 0, 0}, {1, 1, 1}}, 8, 1);
  EXPECT_EQ(grid.sizes(), (std::vector<std::int64_t>{4, 4, 3}));
  EXPECT_TRUE(grid.narrow(0, 1, 2).narrow(1, 1, 2).eq(102).all().item<bool>());
}

TEST_F(PngFile, IsReadBackByLibpng) {
  const auto rgb = noise_images(1, 3, 37, 21)[0].permute({1, 2, 0});  // not contiguous
  write_png(folder_ / "a.png", rgb);
  EXPECT_TRUE(decode(folder_ / "a.png").equal(rgb));
  write_png(folder_ / "a.png", rgb.narrow(0, 0, 5));
  EXPECT_EQ(decode(folder_ / "a.png").size(0), 5);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator{}), 1);  // no temporary is left
}

TEST_F(PngFile, SaysWhereItCouldNotWrite) {
  const fs::path path = folder_ / "missing" / "a.png";
  try {
    write_png(path, at::full({2, 2, 3}, 0, at::kByte));
    FAIL() << "nothing was thrown";
  } catch (const IoError& error) {
    EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
  }
  EXPECT_FALSE(fs::exists(path));
}

}  // namespace
}  // namespace ekd

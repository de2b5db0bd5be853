#include "ekd/augment/preview.h"

#include <ATen/ops/full.h>
#include <png.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <span>
#include <vector>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"

namespace ekd {
namespace {

constexpr std::int64_t kRgb = 3;

std::uint8_t to_byte(float normalised, float mean, float std) {
  return static_cast<std::uint8_t>(std::lround(std::clamp((normalised * std + mean) * 255.0F, 0.0F, 255.0F)));
}

// Draws float [C, H, W] with its upper left corner at rgb[0]; `stride` pixels a line.
void draw_image(const at::TensorAccessor<float, 3>& image, const Normalisation& normalisation, std::int64_t scale,
                std::int64_t stride, std::uint8_t* rgb) {
  for (std::int64_t y = 0; y < image.size(1) * scale; ++y)
    for (std::int64_t x = 0; x < image.size(2) * scale; ++x)
      for (std::int64_t c = 0; c < kRgb; ++c) {
        const std::int64_t channel = std::min(c, image.size(0) - 1);
        const auto place = static_cast<std::size_t>(channel);
        rgb[(y * stride + x) * kRgb + c] =
            to_byte(image[channel][y / scale][x / scale], normalisation.mean[place], normalisation.std[place]);
      }
}

}  // namespace

std::vector<Field> picture_fields(PictureConfig& picture) {
  return {{"preview.out", &picture.out, {}, "--out", "the PNG file"},
          {"preview.columns", &picture.columns, between(1, 64), "--columns", "images side by side"},
          {"preview.rows", &picture.rows, between(1, 64), "--rows", "lines of images, for each view"},
          {"preview.scale", &picture.scale, between(1, 16), "--scale", "pixels of the PNG for a pixel of an image"},
          {"preview.epoch", &picture.epoch, between(0, 1e6), "--epoch", "which epoch's draws"}};
}

at::Tensor preview_grid(const at::Tensor& images, const Normalisation& normalisation, std::int64_t columns,
                        std::int64_t scale) {
  TORCH_CHECK(images.dim() == 4 && images.size(0) >= 1 && (images.size(1) == 1 || images.size(1) == kRgb),
              "a preview shows [N, 1 or 3, H, W], not ", images.sizes());
  TORCH_CHECK(columns >= 1 && scale >= 1, "a preview has at least one column, and a scale of at least 1");
  const at::Tensor pixels = images.detach().to(at::kCPU, at::kFloat);
  columns = std::min(columns, images.size(0));
  const std::int64_t lines = (images.size(0) + columns - 1) / columns, gap = scale;
  const std::int64_t high = images.size(2) * scale + gap, wide = images.size(3) * scale + gap;
  const std::int64_t stride = columns * wide + gap;
  const at::Tensor grid = at::full({lines * high + gap, stride, kRgb}, 255, at::kByte);
  const auto image = pixels.accessor<float, 4>();
  auto* rgb = grid.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < images.size(0); ++i) {
    const std::int64_t top = i / columns * high + gap, left = i % columns * wide + gap;
    draw_image(image[i], normalisation, scale, stride, rgb + (top * stride + left) * kRgb);
  }
  return grid;
}

void write_png(const std::filesystem::path& path, const at::Tensor& rgb) {
  TORCH_CHECK(rgb.scalar_type() == at::kByte && rgb.dim() == 3 && rgb.size(2) == kRgb && rgb.numel() > 0,
              "a picture is uint8 [H, W, 3]");
  const at::Tensor pixels = rgb.to(at::kCPU).contiguous();
  png_image picture{};
  picture.version = PNG_IMAGE_VERSION;
  picture.width = static_cast<png_uint_32>(pixels.size(1));
  picture.height = static_cast<png_uint_32>(pixels.size(0));
  picture.format = PNG_FORMAT_RGB;
  const auto encode = [&](void* memory, png_alloc_size_t* bytes) {
    if (!png_image_write_to_memory(&picture, memory, bytes, 0, pixels.const_data_ptr<std::uint8_t>(), 0, nullptr))
      throw IoError("cannot encode " + path.string() + ": " + picture.message);
  };
  png_alloc_size_t bytes = 0;
  encode(nullptr, &bytes);
  std::vector<std::byte> file(bytes);
  encode(file.data(), &bytes);
  const std::span<const std::byte> piece(file.data(), bytes);
  write_file_atomically(path, std::span(&piece, 1));
}

}  // namespace ekd

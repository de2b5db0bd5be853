// Images, views, boxes and rows at random for tests of the image kernels: the same ones every time.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdint>

#include "ekd/core/random.h"
#include "ekd/kernels/pixels.h"

namespace ekd {

// uint8 [count, channels, height, width].
inline at::Tensor noise_images(std::int64_t count, std::int64_t channels, std::int64_t height, std::int64_t width) {
  const CountedRandom random(99, RandomStream::kSynthetic);
  at::Tensor images = at::empty({count, channels, height, width}, at::kByte);
  auto* byte = images.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < images.numel(); ++i)
    byte[i] = static_cast<std::uint8_t>(random.below(256, 0, 0, static_cast<std::uint32_t>(i)));
  return images;
}

class NoiseDraws {
 public:
  // In [low, high].
  std::int32_t between(std::int64_t low, std::int64_t high, std::int64_t row, std::uint32_t column) const {
    return static_cast<std::int32_t>(low + random_.below(high - low + 1, 0, static_cast<std::uint32_t>(row), column));
  }
  // In (0, 1).
  double uniform(std::int64_t row, std::uint32_t column) const {
    return random_.uniform(0, static_cast<std::uint32_t>(row), column);
  }

 private:
  CountedRandom random_{7, RandomStream::kAugmix};
};

// int32 [count, 9]: up to 20 degrees, crops of ±4, flips.
inline at::Tensor noise_views(std::int64_t count, int height, int width) {
  const NoiseDraws draws;
  at::Tensor views = at::empty({count, kViewWords}, at::kInt);
  auto* view = reinterpret_cast<ViewParams*>(views.mutable_data_ptr<std::int32_t>());
  for (std::int64_t i = 0; i < count; ++i)
    view[i] = {fixed_affine(rotation_matrix(40 * draws.uniform(i, 0) - 20, width, height)), draws.between(-4, 4, i, 1),
               draws.between(-4, 4, i, 2), draws.between(0, 1, i, 3)};
  return views;
}

// int32 [count, 4], of all sizes from nothing to the whole image.
inline at::Tensor noise_boxes(std::int64_t count, int height, int width) {
  const NoiseDraws draws;
  at::Tensor boxes = at::empty({count, kBoxWords}, at::kInt);
  auto* box = reinterpret_cast<Box*>(boxes.mutable_data_ptr<std::int32_t>());
  for (std::int64_t i = 0; i < count; ++i) {
    const auto x = std::minmax({draws.between(0, width, i, 4), draws.between(0, width, i, 5)});
    const auto y = std::minmax({draws.between(0, height, i, 6), draws.between(0, height, i, 7)});
    box[i] = {x.first, y.first, x.second, y.second};
  }
  return boxes;
}

// int64 [count], each in [0, bound).
inline at::Tensor noise_rows(std::int64_t count, std::int64_t bound, std::uint32_t column) {
  const NoiseDraws draws;
  at::Tensor rows = at::empty({count}, at::kLong);
  for (std::int64_t i = 0; i < count; ++i)
    rows.mutable_data_ptr<std::int64_t>()[i] = draws.between(0, bound - 1, i, column);
  return rows;
}

}  // namespace ekd

// A small training set for the tests of augmentations.
#pragma once

#include <ATen/ops/arange.h>

#include <memory>
#include <string>

#include "ekd/augment/augmentation.h"
#include "ekd/augment/base_view.h"
#include "tests/kernels/noise_views.h"

namespace ekd {

inline at::Tensor rows_up_to(std::int64_t count) { return at::arange(count, at::kLong); }

// Noise; the label of row r is r mod classes.
inline AugmentationContext noise_context(const std::string& name, std::int64_t count = 40, std::int64_t channels = 3,
                                         std::int64_t height = 32, std::int64_t width = 32) {
  AugmentationContext context;
  context.classes = 10;
  context.train = {noise_images(count, channels, height, width), rows_up_to(count).remainder(context.classes)};
  context.config.name = name;
  context.seed = 11;
  context.batch_size = 16;
  return context;
}

// No crop, flip or rotation, pixels / 255: so that an image can be told from its values.
inline AugmentationContext plain_context(const std::string& name, const at::Tensor& images, std::int64_t classes) {
  AugmentationContext context = noise_context(name);
  context.classes = classes;
  context.train = {images, rows_up_to(images.size(0)).remainder(classes)};
  context.normalisation = {{0, 0, 0}, {1, 1, 1}};
  context.config.crop_padding = 0;
  context.config.flip = 0;
  context.config.rotation = 0;
  return context;
}

// bool [B, 1, H, W], true inside the boxes int32 [B, 4].
inline at::Tensor inside_boxes(const at::Tensor& boxes, ImageSize size) {
  const auto side = [&](int word) { return boxes.select(1, word).view({-1, 1, 1, 1}); };
  const auto x = at::arange(size.width, at::kInt).view({1, 1, 1, -1});
  const auto y = at::arange(size.height, at::kInt).view({1, 1, -1, 1});
  return x.ge(side(0)).logical_and(x.lt(side(2))).logical_and(y.ge(side(1))).logical_and(y.lt(side(3)));
}

}  // namespace ekd

// The base view: random crop of the zero-padded image, flip, small rotation, normalise.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ekd/augment/settings.h"
#include "ekd/core/random.h"
#include "ekd/core/types.h"
#include "ekd/kernels/pixels.h"

namespace ekd {

struct ImageSize {
  std::int64_t height = 0, width = 0;
};
ImageSize size_of(const at::Tensor& images);  // [N, C, H, W]

// Settings in pixels are those of images of 32×32, for which the papers state them; what they are where the shorter
// side is another: in proportion, rounded, so that a crop of 4 is one of 8 at 64×64 and CutOut's 16 is 32.
std::int64_t scaled_pixels(std::int64_t pixels, ImageSize size);

// top, left: where the crop starts, in [-padding, padding]; degrees counter-clockwise.
ViewParams view_params(double degrees, std::int64_t top, std::int64_t left, bool flip, ImageSize size);

// One view for each of the rows 0, …, count - 1: int32 [count, 9] (ViewParams) on the CPU. Depends on nothing else.
at::Tensor draw_base_views(std::uint32_t seed, RandomStream stream, std::uint32_t epoch, std::int64_t count,
                           ImageSize size, const AugmentConfig& config);

// Images as evaluation sees them: uint8 [B, C, H, W] → normalised [B, C, H, W] in channels_last layout, of `dtype`
// float32 or bfloat16.
at::Tensor clean_view(const at::Tensor& images, const Normalisation& normalisation, at::ScalarType dtype = at::kFloat);

// float32 [B, classes] with 1 at the label; labels int64 [B] in [0, classes).
at::Tensor one_hot_targets(const at::Tensor& labels, std::int64_t classes);

}  // namespace ekd

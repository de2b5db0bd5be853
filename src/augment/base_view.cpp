#include "ekd/augment/base_view.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <algorithm>

#include "augment/samplers.h"
#include "ekd/kernels/pixels.h"
#include "ekd/kernels/views.h"

namespace ekd {
namespace {

struct ViewColumn {
  enum : std::uint32_t { kTop = 0, kLeft = 1, kFlip = 2, kAngle = 3 };
};

}  // namespace

ImageSize size_of(const at::Tensor& images) { return {images.size(2), images.size(3)}; }

std::int64_t scaled_pixels(std::int64_t pixels, ImageSize size) {
  constexpr std::int64_t kStatedSide = 32;
  return (pixels * std::min(size.height, size.width) + kStatedSide / 2) / kStatedSide;
}

ViewParams view_params(double degrees, std::int64_t top, std::int64_t left, bool flip, ImageSize size) {
  const Affine rotation = rotation_matrix(degrees, static_cast<int>(size.width), static_cast<int>(size.height));
  return {fixed_affine(rotation), static_cast<std::int32_t>(left), static_cast<std::int32_t>(top), flip ? 1 : 0};
}

at::Tensor draw_base_views(std::uint32_t seed, RandomStream stream, std::uint32_t epoch, std::int64_t count,
                           ImageSize size, const AugmentConfig& config) {
  constexpr std::int64_t kRowsPerChunk = 256;
  const CountedRandom random(seed, stream);
  const at::Tensor views = at::empty({count, kViewWords}, at::kInt);
  auto* view = reinterpret_cast<ViewParams*>(views.mutable_data_ptr<std::int32_t>());
  const std::int64_t padding = scaled_pixels(config.crop_padding, size);
  at::parallel_for(0, count, kRowsPerChunk, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const RowDraws draws(random, epoch, static_cast<std::uint32_t>(row));
      const std::int64_t top = draws.below(2 * padding + 1, ViewColumn::kTop) - padding;
      const std::int64_t left = draws.below(2 * padding + 1, ViewColumn::kLeft) - padding;
      const double degrees = (2 * draws.uniform(ViewColumn::kAngle) - 1) * config.rotation;
      view[row] = view_params(degrees, top, left, draws.chance(config.flip, ViewColumn::kFlip), size);
    }
  });
  return views;
}

at::Tensor clean_view(const at::Tensor& images, const Normalisation& normalisation, at::ScalarType dtype) {
  return normalised_images(images, normalisation, dtype);
}

at::Tensor one_hot_targets(const at::Tensor& labels, std::int64_t classes) {
  const at::Tensor targets = at::zeros({labels.size(0), classes}, labels.options().dtype(at::kFloat));
  return targets.scatter_(1, labels.unsqueeze(1), 1.0);
}

}  // namespace ekd

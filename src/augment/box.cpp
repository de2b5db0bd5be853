#include "ekd/augment/box.h"

#include <ATen/ops/arange.h>

#include <algorithm>
#include <cmath>

namespace ekd {
namespace {

struct Span {
  std::int32_t begin, end;
};

Span clipped(std::int64_t begin, std::int64_t end, std::int64_t side) {
  return {static_cast<std::int32_t>(std::clamp(begin, std::int64_t{0}, side)),
          static_cast<std::int32_t>(std::clamp(end, std::int64_t{0}, side))};
}

Span cutmix_span(double cut, std::int64_t centre, std::int64_t side) {
  const auto half = static_cast<std::int64_t>(static_cast<double>(side) * cut) / 2;
  return clipped(centre - half, centre + half, side);
}

}  // namespace

Box cutmix_box(double factor, std::int64_t centre_x, std::int64_t centre_y, ImageSize size) {
  const double cut = std::sqrt(1 - factor);
  const Span x = cutmix_span(cut, centre_x, size.width), y = cutmix_span(cut, centre_y, size.height);
  return {x.begin, y.begin, x.end, y.end};
}

double cutmix_weight(const Box& box, ImageSize size) {
  return 1 - static_cast<double>(box.area()) / static_cast<double>(size.height * size.width);
}

Box cutout_box(std::int64_t side, std::int64_t centre_x, std::int64_t centre_y, ImageSize size) {
  const Span x = clipped(centre_x - side / 2, centre_x - side / 2 + side, size.width);
  const Span y = clipped(centre_y - side / 2, centre_y - side / 2 + side, size.height);
  return {x.begin, y.begin, x.end, y.end};
}

at::Tensor box_mask(const at::Tensor& boxes, const at::Tensor& images) {
  const std::int64_t channels = images.size(1), height = images.size(2), width = images.size(3);
  const auto within = [&](std::int64_t places, std::int64_t begin, std::int64_t end) {
    const at::Tensor place = at::arange(places, boxes.options()).unsqueeze(0);
    return place.ge(boxes.narrow(1, begin, 1)).logical_and_(place.lt(boxes.narrow(1, end, 1)));
  };
  // A line of the image has width · channels values: made for all of them at once, the mask is as dense as the images.
  const at::Tensor lines = within(height, 1, 3).unsqueeze(2);
  const at::Tensor columns = within(width, 0, 2).unsqueeze(2).expand({-1, -1, channels}).flatten(1).unsqueeze(1);
  return lines.logical_and(columns).view({boxes.size(0), height, width, channels}).permute({0, 3, 1, 2});
}

}  // namespace ekd

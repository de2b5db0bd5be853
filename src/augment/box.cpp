#include "augment/box.h"

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

}  // namespace ekd

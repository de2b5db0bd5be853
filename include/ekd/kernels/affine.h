// Affine maps of small images with the arithmetic of Pillow's Image.transform(AFFINE), so that results agree bit for
// bit: nearest pixel in 16.16 fixed point, bilinear in doubles about pixel centres, black outside.
#pragma once

#include <cstdint>

#include "ekd/kernels/host_device.h"

namespace ekd {

// Output to input, in pixels from the upper left corner: x' = a[0] x + a[1] y + a[2], y' = a[3] x + a[4] y + a[5].
struct Affine {
  double a[6];
};

// The same for pixel indices, in 1/65536 pixel; the constants hold the half-pixel shift to pixel centres.
struct FixedAffine {
  std::int32_t a[6];
};

struct Pixel {
  int x, y;
};

EKD_HOST_DEVICE inline bool inside(Pixel p, int width, int height) {
  return p.x >= 0 && p.x < width && p.y >= 0 && p.y < height;
}

// The input pixel under output pixel `p`; it may lie outside the image.
EKD_HOST_DEVICE inline Pixel nearest_source(const FixedAffine& map, Pixel p) {
  return {(map.a[2] + map.a[0] * p.x + map.a[1] * p.y) >> 16, (map.a[5] + map.a[3] * p.x + map.a[4] * p.y) >> 16};
}

// Where a bilinear sample reads: offsets of four pixels in a plane, and how far it lies from the first.
struct BilinearSample {
  int upper_left, upper_right, lower_left, lower_right;
  double dx, dy;
};

// False where the point lies outside the image. Beyond the outermost pixel centres the edge pixel is repeated.
EKD_HOST_DEVICE inline bool bilinear_sample(const Affine& map, Pixel p, int width, int height, BilinearSample* sample) {
  const double x_centre = p.x + 0.5, y_centre = p.y + 0.5;
  double x = map.a[0] * x_centre + map.a[1] * y_centre + map.a[2];
  double y = map.a[3] * x_centre + map.a[4] * y_centre + map.a[5];
  if (!(x >= 0.0 && x < width && y >= 0.0 && y < height)) return false;
  x -= 0.5;
  y -= 0.5;
  const int left = x < 0.0 ? -1 : static_cast<int>(x), top = y < 0.0 ? -1 : static_cast<int>(y);
  sample->dx = x - left;
  sample->dy = y - top;
  const int x0 = left < 0 ? 0 : left, x1 = left + 1 < width ? left + 1 : width - 1;
  const int upper = (top < 0 ? 0 : top) * width, lower = (top + 1 < height ? top + 1 : height - 1) * width;
  sample->upper_left = upper + x0;
  sample->upper_right = upper + x1;
  sample->lower_left = lower + x0;
  sample->lower_right = lower + x1;
  return true;
}

EKD_HOST_DEVICE inline std::uint8_t bilinear_value(const std::uint8_t* plane, const BilinearSample& s) {
  const double upper = plane[s.upper_left] + (plane[s.upper_right] - plane[s.upper_left]) * s.dx;
  const double lower = plane[s.lower_left] + (plane[s.lower_right] - plane[s.lower_left]) * s.dx;
  return static_cast<std::uint8_t>(upper + (lower - upper) * s.dy);
}

}  // namespace ekd

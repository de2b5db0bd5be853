// Pixels of stored images: which one an output pixel shows, and its normalised value. Affine maps have the arithmetic
// of Pillow's Image.transform(AFFINE), so that results agree bit for bit: nearest pixel in 16.16 fixed point, bilinear
// in doubles about pixel centres, black outside. A view is a crop, a flip and a rotation as one gather.
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

struct PlanarShape {
  int channels, height, width;
  EKD_HOST_DEVICE int pixels() const { return height * width; }
};

// Counter-clockwise about the centre, any angle. Sine and cosine are rounded to 15 decimals, as Pillow does.
Affine rotation_matrix(double degrees, int width, int height);

// To the nearest 1/65536, halves up.
FixedAffine fixed_affine(const Affine& map);

// Columns [x1, x2), rows [y1, y2). A tensor of boxes is int32 [K, 4].
struct Box {
  std::int32_t x1 = 0, y1 = 0, x2 = 0, y2 = 0;
  std::int64_t area() const { return std::int64_t{x2 - x1} * (y2 - y1); }
};
constexpr std::int64_t kBoxWords = 4;
static_assert(sizeof(Box) == kBoxWords * sizeof(std::int32_t), "boxes are rows of an int32 tensor");

EKD_HOST_DEVICE inline bool covers(const Box& box, Pixel p) {
  return p.x >= box.x1 && p.x < box.x2 && p.y >= box.y1 && p.y < box.y2;
}

struct ViewParams {
  FixedAffine rotation;
  std::int32_t left, top;  // where the crop starts in the image; negative in the padding
  std::int32_t flip;       // 0 or 1, horizontal
};

// A tensor of views is int32 [N, kViewWords].
constexpr int kViewWords = 9;
static_assert(sizeof(ViewParams) == kViewWords * sizeof(std::int32_t), "views are rows of an int32 tensor");

enum class ViewOrder { kCropFlipRotate, kRotateFlipCrop };

// Offset in the image's plane, or -1 for the zeros outside.
EKD_HOST_DEVICE EKD_ALWAYS_INLINE int view_source(const ViewParams& view, ViewOrder order, Pixel p, int width,
                                                  int height) {
  if (order == ViewOrder::kCropFlipRotate) {
    p = nearest_source(view.rotation, p);
    if (!inside(p, width, height)) return -1;
    if (view.flip) p.x = width - 1 - p.x;
    p = {p.x + view.left, p.y + view.top};
  } else {
    p = {p.x + view.left, p.y + view.top};
    if (!inside(p, width, height)) return -1;
    if (view.flip) p.x = width - 1 - p.x;
    p = nearest_source(view.rotation, p);
  }
  return inside(p, width, height) ? p.y * width + p.x : -1;
}

// Bytes to normalised floats: (pixel / 255 - mean) / std in float32, one rounding per operation, which is the
// arithmetic of torchvision's ToTensor and Normalize.

constexpr int kMaxChannels = 3;
constexpr int kByteValues = 256;

// Normalisation for kernels, per channel.
struct ChannelScale {
  float mean[kMaxChannels];
  float std[kMaxChannels];
};

EKD_HOST_DEVICE inline float normalise(std::uint8_t pixel, float mean, float std) {
  return (static_cast<float>(pixel) / 255.0F - mean) / std;
}

// Every byte's normalised value in each channel.
struct NormaliseTable {
  float value[kMaxChannels][kByteValues];
};

}  // namespace ekd

// Random crop, flip and rotation as one gather: which pixel of the stored image an output pixel shows.
#pragma once

#include <cstdint>

#include "ekd/kernels/affine.h"

namespace ekd {

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

}  // namespace ekd

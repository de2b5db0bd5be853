// Boxes of pixels that are pasted or blanked.
#pragma once

#include <cstdint>

#include "ekd/kernels/affine.h"

namespace ekd {

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

}  // namespace ekd

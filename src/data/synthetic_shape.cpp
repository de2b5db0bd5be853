// The ten outlines, as inequalities between integers.
#include <algorithm>
#include <cstdlib>

#include "data/synthetic_picture.h"

namespace ekd {
namespace {

bool in_disc(int u, int v, int radius) { return u * u + v * v < radius * radius; }
bool in_box(int u, int v, int half_width, int half_height) {
  return std::abs(u) < half_width && std::abs(v) < half_height;
}

}  // namespace

bool inside_synthetic_shape(int shape, int u, int v) {
  switch (shape) {
    case 0:  // disc
      return in_disc(u, v, 225);
    case 1:  // ring
      return in_disc(u, v, 250) && !in_disc(u, v, 140);
    case 2:  // square
      return in_box(u, v, 200, 200);
    case 3:  // triangle, apex up
      return v < 180 && 5 * std::abs(u) < 3 * (v + 245);
    case 4:  // cross
      return in_box(u, v, 80, 245) || in_box(u, v, 245, 80);
    case 5:  // bar
      return in_box(u, v, 255, 95);
    case 6:  // crescent
      return in_disc(u, v, 245) && !in_disc(u - 110, v, 195);
    case 7:  // pair
      return in_disc(u - 140, v, 125) || in_disc(u + 140, v, 125);
    case 8:  // corner
      return in_box(u, v, 220, 220) && (u < -60 || v > 60);
    default:  // frame
      return in_box(u, v, 225, 225) && !in_box(u, v, 125, 125);
  }
}

}  // namespace ekd

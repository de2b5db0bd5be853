// Turns a scene into pixels: background, distractor, object, occluder, then contrast and noise.
#include <algorithm>
#include <cstdlib>

#include "data/synthetic_picture.h"

namespace ekd {
namespace {

constexpr int kSide = 32;
constexpr std::uint32_t kNoiseWords = 1;  // the `epoch` word of the noise's counters

int wrap(int value, int period) {
  const int rest = value % period;
  return rest < 0 ? rest + period : rest;
}

// Smooth noise 0..255 at a pixel: nodes eight pixels apart, bilinear between them.
int lattice_at(const SyntheticScene& scene, int x, int y) {
  const int fx = x % 8, fy = y % 8;
  const std::uint8_t* node = scene.lattice.data() + y / 8 * 5 + x / 8;
  const int top = node[0] * (8 - fx) + node[1] * fx;
  const int bottom = node[5] * (8 - fx) + node[6] * fx;
  return (top * (8 - fy) + bottom * fy) / 64;
}

// weight 0: a, 256: b.
Rgb blend(const Rgb& a, const Rgb& b, int weight) {
  Rgb mixed;
  for (std::size_t k = 0; k < 3; ++k) mixed[k] = (a[k] * (256 - weight) + b[k] * weight) >> 8;
  return mixed;
}

Rgb background_at(const SyntheticScene& scene, int x, int y) {
  const int slope = scene.slope_x * (x - kSide / 2) + scene.slope_y * (y - kSide / 2);
  const int blotch = (lattice_at(scene, x, y) - 128) * scene.blotch_strength / 128;
  return blend(scene.background_a, scene.background_b, std::clamp(128 + slope + blotch, 0, 256));
}

// How dark the texture is, 0..256, at an offset from the object's centre.
int texture_at(const SyntheticObject& object, int blotch, int dx, int dy) {
  const int along = (dx * object.texture_cos + dy * object.texture_sin) / 1024;
  const int across = (dy * object.texture_cos - dx * object.texture_sin) / 1024;
  const int period = object.period;
  const int a = wrap(along + object.phase_x, period), b = wrap(across + object.phase_y, period);
  const bool left = 2 * a < period, top = 2 * b < period;
  switch (object.family) {
    case 0:  // plain
      return 0;
    case 1:  // rows
      return top ? 256 : 0;
    case 2:  // columns
      return left ? 256 : 0;
    case 3:  // diagonals
      return 2 * wrap(along + across + object.phase_x, period) < period ? 256 : 0;
    case 4:  // checks
      return left != top ? 256 : 0;
    case 5: {  // dots
      const int u = 2 * a - period, v = 2 * b - period;
      return 9 * (u * u + v * v) < 5 * period * period ? 256 : 0;
    }
    case 6: {  // rings: octagons by the alpha-max-beta-min norm
      const int u = std::abs(along), v = std::abs(across);
      return 2 * wrap(std::max(u, v) + 3 * std::min(u, v) / 8 + object.phase_x, period) < period ? 256 : 0;
    }
    case 7:  // shade
      return std::clamp(128 + 160 * across / object.radius, 0, 256);
    case 8:  // blotches
      return blotch > 128 ? 256 : 0;
    default:  // grid
      return 4 * a < period || 4 * b < period ? 256 : 0;
  }
}

// How many of a pixel's four samples lie inside the object.
int coverage(const SyntheticObject& object, int dx, int dy) {
  const int centre_u = dx * object.shape_cos + dy * object.shape_sin;
  const int centre_v = dy * object.shape_cos - dx * object.shape_sin;
  // No shape reaches further than 1.35 radii from its centre, nor a sample further than .1 from its pixel's.
  const int u = centre_u >> 8, v = centre_v >> 8;
  if (u * u + v * v > 371 * 371) return 0;
  const int plus = 4 * (object.shape_cos + object.shape_sin), minus = 4 * (object.shape_cos - object.shape_sin);
  return inside_synthetic_shape(object.shape, (centre_u - plus) >> 8, (centre_v - minus) >> 8) +
         inside_synthetic_shape(object.shape, (centre_u + minus) >> 8, (centre_v - plus) >> 8) +
         inside_synthetic_shape(object.shape, (centre_u - minus) >> 8, (centre_v + plus) >> 8) +
         inside_synthetic_shape(object.shape, (centre_u + plus) >> 8, (centre_v + minus) >> 8);
}

void paint(const SyntheticScene& scene, const SyntheticObject& object, int x, int y, Rgb& pixel) {
  const int dx = 16 * x + 8 - object.centre_x, dy = 16 * y + 8 - object.centre_y;
  const int inside = coverage(object, dx, dy);
  if (inside == 0) return;
  // The lattice read at half its distance, from the other end, so that blotches are finer than the background's.
  const int blotch = lattice_at(scene, 31 - 2 * x % kSide, 31 - 2 * y % kSide);
  pixel = blend(pixel, blend(object.light, object.dark, texture_at(object, blotch, dx, dy)), 64 * inside);
}

Rgb pixel_at(const SyntheticScene& scene, int x, int y) {
  if (x >= scene.occluder_left && x < scene.occluder_right && y >= scene.occluder_top && y < scene.occluder_bottom)
    return scene.occluder;
  Rgb pixel = background_at(scene, x, y);
  paint(scene, scene.distractor, x, y, pixel);
  paint(scene, scene.object, x, y, pixel);
  return pixel;
}

}  // namespace

void draw_synthetic_scene(const SyntheticScene& scene, const CountedRandom& random, std::uint32_t row,
                          std::uint8_t* pixels) {
  PhiloxBlock noise{};
  for (int index = 0; index < kSide * kSide; ++index) {
    // A block's 16 bytes are five pixels' noise; the last byte is left over.
    if (index % 5 == 0) noise = random.block(kNoiseWords, row, static_cast<std::uint32_t>(index / 5));
    const Rgb pixel = pixel_at(scene, index % kSide, index / kSide);
    for (int channel = 0; channel < 3; ++channel) {
      const int byte = index % 5 * 3 + channel;
      const int draw = static_cast<int>(noise[static_cast<std::size_t>(byte / 4)] >> (byte % 4 * 8) & 255U);
      const int value = pixel[static_cast<std::size_t>(channel)] * scene.gain / 256 + scene.offset;
      const int noisy = value + (2 * draw - 255) * scene.noise / 256;
      pixels[channel * kSide * kSide + index] = static_cast<std::uint8_t>(std::clamp(noisy, 0, 255));
    }
  }
}

}  // namespace ekd

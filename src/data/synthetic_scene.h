// One picture of the built-in data set: what is drawn about it, and drawing it.
#pragma once

#include <array>
#include <cstdint>

#include "ekd/core/random.h"

namespace ekd {

inline constexpr int kSyntheticShapes = 10, kSyntheticFamilies = 10;
inline constexpr std::array<const char*, kSyntheticShapes> kSyntheticShapeNames{
    "disc", "ring", "square", "triangle", "cross", "bar", "crescent", "pair", "corner", "frame"};
inline constexpr std::array<const char*, kSyntheticFamilies> kSyntheticFamilyNames{
    "plain", "rows", "columns", "diagonals", "checks", "dots", "rings", "shade", "blotches", "grid"};

// A class is one shape and one family. The first ten classes differ in both, so that `--classes 10` is an easy start.
constexpr int synthetic_shape_of(int label) { return label % kSyntheticShapes; }
constexpr int synthetic_family_of(int label) {
  return (label / kSyntheticShapes + label % kSyntheticShapes) % kSyntheticFamilies;
}

using Rgb = std::array<int, 3>;  // 0..255 each

// Lengths in sixteenths of a pixel.
struct SyntheticObject {
  int shape = 0, family = 0;
  int centre_x = 0, centre_y = 0, radius = 0;
  int shape_cos = 0, shape_sin = 0;      // of its turn, times 65536 / radius
  int texture_cos = 0, texture_sin = 0;  // of the texture's turn, times 1024
  int period = 16, phase_x = 0, phase_y = 0;
  Rgb light{}, dark{};
};

struct SyntheticScene {
  SyntheticObject distractor, object;
  Rgb background_a{}, background_b{};
  int slope_x = 0, slope_y = 0;  // of the background's blend, 1/256 a pixel
  int blotch_strength = 0;       // of the background, 1/256
  int occluder_left = 0, occluder_top = 0, occluder_right = 0, occluder_bottom = 0;  // pixels, half open; may be empty
  Rgb occluder{};
  int gain = 256, offset = 0, noise = 0;   // value * gain / 256 + offset, then uniform noise in ±noise
  std::array<std::uint8_t, 32> lattice{};  // smooth noise: 25 of these are the nodes, eight pixels apart
};

// Everything about record `row` but its pixel noise.
SyntheticScene synthetic_scene(const CountedRandom& random, std::uint32_t row, int label);

// Is the point inside the shape? (u, v) in 1/256 of the shape's radius, v downwards.
bool inside_synthetic_shape(int shape, int u, int v);

// Draws 3 x 32 x 32 bytes, channel by channel.
void draw_synthetic_scene(const SyntheticScene& scene, const CountedRandom& random, std::uint32_t row,
                          std::uint8_t* pixels);

}  // namespace ekd

// Draws what varies from picture to picture. The order of the draws is part of the data set: append, never reorder.
#include "data/synthetic_picture.h"

namespace ekd {
namespace {

// Which block of a record's counters: the `epoch` word, as a data set has no epochs.
enum : std::uint32_t { kSceneWords = 0, kLatticeWords = 2 };

class SceneDraws {
 public:
  SceneDraws(const CountedRandom& random, std::uint32_t row) : random_(random), row_(row) {}

  // Uniform in [low, high].
  int between(int low, int high) {
    if (used_ == block_.size()) {
      block_ = random_.block(kSceneWords, row_, column_++);
      used_ = 0;
    }
    const auto count = static_cast<std::uint64_t>(high - low + 1);
    return low + static_cast<int>(block_[used_++] * count >> 32);
  }

 private:
  const CountedRandom& random_;
  std::uint32_t row_, column_ = 0;
  PhiloxBlock block_{};
  std::size_t used_ = block_.size();
};

struct Turn {
  int cos, sin;  // times `scale`
};

// The angle 2 atan(tangent / 1024): cos and sin are rational in its half's tangent, so no libm decides a bit.
Turn turn(std::int64_t tangent, std::int64_t scale) {
  constexpr std::int64_t kOne = 1024;
  const std::int64_t norm = kOne * kOne + tangent * tangent;
  return {static_cast<int>((kOne * kOne - tangent * tangent) * scale / norm),
          static_cast<int>(2 * kOne * tangent * scale / norm)};
}

// hue in [0, 1536) is six ramps of 256 steps; saturation and value in [0, 255].
Rgb colour(int hue, int saturation, int value) {
  const int ramp = hue % 256;
  const int low = value * (255 - saturation) / 255;
  const int falling = value * (255 - saturation * ramp / 256) / 255;
  const int rising = value * (255 - saturation * (256 - ramp) / 256) / 255;
  switch (hue / 256) {
    case 0:
      return {value, rising, low};
    case 1:
      return {falling, value, low};
    case 2:
      return {low, value, rising};
    case 3:
      return {low, falling, value};
    case 4:
      return {rising, low, value};
    default:
      return {value, low, falling};
  }
}

int wrap_hue(int hue) { return (hue + 1536) % 1536; }

Rgb any_colour(SceneDraws& draws, int most_saturation, int least_value, int most_value) {
  const int hue = draws.between(0, 1535);
  const int saturation = draws.between(0, most_saturation);
  const int value = draws.between(least_value, most_value);
  return colour(hue, saturation, value);
}

SyntheticObject any_object(SceneDraws& draws, int shape, int family, int least_radius, int most_radius) {
  SyntheticObject object;
  object.shape = shape;
  object.family = family;
  object.radius = draws.between(least_radius, most_radius);
  // Most of the object lies inside the picture.
  const int margin = object.radius * 3 / 4;
  object.centre_x = draws.between(margin, 512 - margin);
  object.centre_y = draws.between(margin, 512 - margin);
  const Turn shape_turn = turn(draws.between(-300, 300), 65536 / object.radius);  // about ±33 degrees
  object.shape_cos = shape_turn.cos;
  object.shape_sin = shape_turn.sin;
  const Turn texture_turn = turn(draws.between(-90, 90), 1024);  // about ±10 degrees
  object.texture_cos = texture_turn.cos;
  object.texture_sin = texture_turn.sin;
  object.period = draws.between(64, 112);
  object.phase_x = draws.between(0, 1023);
  object.phase_y = draws.between(0, 1023);
  // The hues of neighbouring families overlap.
  const int hue = wrap_hue(family * 154 + draws.between(-110, 110));
  const int saturation = draws.between(90, 255);
  const int value = draws.between(130, 255);
  object.light = colour(hue, saturation, value);
  const int dark_hue = wrap_hue(hue + draws.between(-120, 120));
  const int dark_value = value * draws.between(70, 150) / 255;
  object.dark = colour(dark_hue, saturation, dark_value);
  return object;
}

void draw_background(SceneDraws& draws, SyntheticScene& scene) {
  scene.background_a = any_colour(draws, 200, 30, 230);
  scene.background_b = any_colour(draws, 200, 30, 230);
  scene.slope_x = draws.between(-8, 8);
  scene.slope_y = draws.between(-8, 8);
  scene.blotch_strength = draws.between(0, 256);
}

void draw_occluder(SceneDraws& draws, SyntheticScene& scene) {
  const bool present = draws.between(0, 2) == 0;
  const int width = draws.between(4, 12);
  const int height = draws.between(4, 12);
  scene.occluder_left = draws.between(0, 32 - width);
  scene.occluder_top = draws.between(0, 32 - height);
  scene.occluder_right = present ? scene.occluder_left + width : scene.occluder_left;
  scene.occluder_bottom = scene.occluder_top + height;
  scene.occluder = any_colour(draws, 255, 0, 255);
}

}  // namespace

SyntheticScene synthetic_scene(const CountedRandom& random, std::uint32_t row, int label) {
  SceneDraws draws(random, row);
  SyntheticScene scene;
  const bool mistaken = draws.between(0, 9) == 0;
  const int other_family = draws.between(0, kSyntheticFamilies - 1);
  const int family = mistaken ? other_family : synthetic_family_of(label);
  draw_background(draws, scene);
  const int distractor_shape = draws.between(0, kSyntheticShapes - 1);
  const int distractor_family = draws.between(0, kSyntheticFamilies - 1);
  scene.distractor = any_object(draws, distractor_shape, distractor_family, 40, 68);
  scene.object = any_object(draws, synthetic_shape_of(label), family, 144, 224);
  draw_occluder(draws, scene);
  scene.gain = draws.between(180, 290);
  scene.offset = draws.between(-30, 45);
  scene.noise = draws.between(4, 28);
  for (std::size_t i = 0; i < scene.lattice.size(); i += 4) {
    const PhiloxBlock words = random.block(kLatticeWords, row, static_cast<std::uint32_t>(i / 4));
    for (std::size_t k = 0; k < 4; ++k) scene.lattice[i + k] = static_cast<std::uint8_t>(words[k] >> 24);
  }
  return scene;
}

}  // namespace ekd

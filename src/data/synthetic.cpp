#include "ekd/data/synthetic.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>

#include "data/cifar.h"
#include "data/synthetic_scene.h"
#include "ekd/core/random.h"

namespace ekd {
namespace {

constexpr std::uint32_t kSeed = 0;                      // the set is one and the same, whatever a run's seed
constexpr std::uint32_t kFirstTestCounter = 1'000'000;  // far past the training records: the splits share no draw

std::int64_t records_in(SyntheticSplit split) {
  return split == SyntheticSplit::kTrain ? kSyntheticTrainRecords : kSyntheticTestRecords;
}

ImageSet all_records(SyntheticSplit split) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(records_in(split)));
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  return synthetic_records(split, rows);
}

// What varies from picture to picture. The order of the draws is part of the data set: append, never reorder.

// Which block of a record's counters: the `epoch` word, as a data set has no epochs.
enum : std::uint32_t { kSceneWords = 0, kNoiseWords = 1, kLatticeWords = 2 };

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

namespace {

// The ten outlines, as inequalities between integers.

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

namespace {

// From a scene to pixels: background, distractor, object, occluder, then contrast and noise.

constexpr int kSide = 32;

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

std::vector<std::uint8_t> synthetic_labels(SyntheticSplit split) {
  std::vector<std::uint8_t> labels(static_cast<std::size_t>(records_in(split)));
  for (std::size_t k = 0; k < labels.size(); ++k) labels[k] = static_cast<std::uint8_t>(k % kSyntheticClasses);
  return labels;
}

ImageSet synthetic_records(SyntheticSplit split, std::span<const std::int64_t> rows) {
  const CountedRandom random(kSeed, RandomStream::kSynthetic);
  const std::uint32_t first = split == SyntheticSplit::kTrain ? 0 : kFirstTestCounter;
  const auto count = static_cast<std::int64_t>(rows.size());
  ImageSet set{at::empty({count, 3, kCifarSide, kCifarSide}, at::kByte), at::empty({count}, at::kLong)};
  auto* images = set.images.mutable_data_ptr<std::uint8_t>();
  auto* labels = set.labels.mutable_data_ptr<std::int64_t>();
  at::parallel_for(0, count, 32, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t record = rows[static_cast<std::size_t>(i)];
      labels[i] = record % kSyntheticClasses;
      const std::uint32_t counter = first + static_cast<std::uint32_t>(record);
      const SyntheticScene scene = synthetic_scene(random, counter, static_cast<int>(labels[i]));
      draw_synthetic_scene(scene, random, counter, images + i * kCifarImageBytes);
    }
  });
  return set;
}

std::vector<std::string> synthetic_class_names() {
  std::vector<std::string> names;
  for (int label = 0; label < kSyntheticClasses; ++label) {
    names.push_back(std::string(kSyntheticShapeNames[static_cast<std::size_t>(synthetic_shape_of(label))]) + "_" +
                    kSyntheticFamilyNames[static_cast<std::size_t>(synthetic_family_of(label))]);
  }
  return names;
}

void write_synthetic(const std::filesystem::path& dir) {
  std::vector<std::string> coarse_names;
  for (int group = 0; group < kCifarCoarseClasses; ++group) coarse_names.push_back("group_" + std::to_string(group));
  write_cifar100(dir, all_records(SyntheticSplit::kTrain), all_records(SyntheticSplit::kTest), synthetic_class_names(),
                 coarse_names);
}

}  // namespace ekd

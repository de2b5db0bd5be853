// AugMix's image operations (Hendrycks et al., 2020) on planes of bytes, with Pillow's arithmetic. Written for a team
// of workers that share an image: one thread on the CPU, a block on the GPU.
//
// A Team has rank(), size(), sync() (all workers meet, memory is visible) and increment(int*).
#pragma once

#include <cstdint>

#include "ekd/kernels/host_device.h"
#include "ekd/kernels/pixels.h"

namespace ekd {

// Operations on single bytes, and the tables of Pillow's autocontrast and equalize, from a channel's histogram.

// Keeps the `bits` highest bits; 0 leaves black.
EKD_HOST_DEVICE inline std::uint8_t posterize(std::uint8_t value, int bits) {
  return static_cast<std::uint8_t>(value & ~((1 << (8 - bits)) - 1));
}

// Inverts what is not below the threshold, in [0, 256].
EKD_HOST_DEVICE inline std::uint8_t solarize(std::uint8_t value, int threshold) {
  return static_cast<std::uint8_t>(value < threshold ? value : 255 - value);
}

EKD_HOST_DEVICE inline std::uint8_t clip_to_byte(int value) {
  return static_cast<std::uint8_t>(value < 0 ? 0 : value > 255 ? 255 : value);
}

// What a channel's table is made of; `first` < 0 says that the channel stays as it is.
struct ContrastRange {
  int first, last;  // smallest and largest value that occur
};

EKD_HOST_DEVICE inline ContrastRange contrast_range(const int* histogram) {
  int first = 0, last = 255;
  while (first < 255 && histogram[first] == 0) ++first;
  while (last > 0 && histogram[last] == 0) --last;
  if (last <= first) return {-1, -1};
  return {first, last};
}

EKD_HOST_DEVICE inline std::uint8_t autocontrast_entry(ContrastRange range, int value) {
  if (range.first < 0) return static_cast<std::uint8_t>(value);
  const double scale = 255.0 / (range.last - range.first);
  const double offset = -range.first * scale;
  return clip_to_byte(static_cast<int>(value * scale + offset));
}

// Pixels per step of the equalized scale: all but those of the largest value, over 255. 0: the channel stays as it is.
EKD_HOST_DEVICE inline int equalize_step(const int* histogram, int pixels) {
  int last = 255;
  while (last > 0 && histogram[last] == 0) --last;
  return (pixels - histogram[last]) / 255;
}

// `below`: pixels with a value below this one.
EKD_HOST_DEVICE inline std::uint8_t equalize_entry(int step, int below, int value) {
  if (step == 0) return static_cast<std::uint8_t>(value);
  return clip_to_byte((step / 2 + below) / step);
}

// Values are part of the reproducibility contract: a draw k in {0, …, 8} means operation k + 1.
enum class AugmixOp : std::int8_t {
  kNone = 0,  // ends a chain
  kAutocontrast,
  kEqualize,
  kPosterize,   // amount: bits kept, 0 to 8
  kRotate,      // amount: whole degrees in ±kMostRotation, counter-clockwise
  kSolarize,    // amount: threshold, 0 to 256
  kShearX,      // amount: x' = x + amount y
  kShearY,      // amount: y' = y + amount x
  kTranslateX,  // amount: whole pixels, x' = x + amount
  kTranslateY,
};
constexpr int kAugmixOps = 9;
constexpr int kMostRotation = 30;
constexpr int kRotations = 2 * kMostRotation + 1;

struct AugmixScratch {
  int histogram[kMaxChannels][kByteValues];  // then, for equalize, pixels below each value
  int parameters[kMaxChannels][2];
  std::uint8_t table[kMaxChannels][kByteValues];
};

EKD_TEAM_TEMPLATE
template <class Team>
EKD_HOST_DEVICE void count_values(PlanarShape shape, const std::uint8_t* source, AugmixScratch& s, const Team& team) {
  for (int c = 0; c < shape.channels; ++c)
    for (int i = team.rank(); i < kByteValues; i += team.size()) s.histogram[c][i] = 0;
  team.sync();
  for (int c = 0; c < shape.channels; ++c)
    for (int i = team.rank(); i < shape.pixels(); i += team.size())
      team.increment(&s.histogram[c][source[c * shape.pixels() + i]]);
  team.sync();
}

EKD_TEAM_TEMPLATE
template <class Team>
EKD_HOST_DEVICE void autocontrast_table(PlanarShape shape, AugmixScratch& s, const Team& team) {
  for (int c = team.rank(); c < shape.channels; c += team.size()) {
    const ContrastRange range = contrast_range(s.histogram[c]);
    s.parameters[c][0] = range.first;
    s.parameters[c][1] = range.last;
  }
  team.sync();
  for (int c = 0; c < shape.channels; ++c)
    for (int i = team.rank(); i < kByteValues; i += team.size())
      s.table[c][i] = autocontrast_entry({s.parameters[c][0], s.parameters[c][1]}, i);
}

EKD_TEAM_TEMPLATE
template <class Team>
EKD_HOST_DEVICE void equalize_table(PlanarShape shape, AugmixScratch& s, const Team& team) {
  for (int c = team.rank(); c < shape.channels; c += team.size()) {
    s.parameters[c][0] = equalize_step(s.histogram[c], shape.pixels());
    int below = 0;
    for (int i = 0; i < kByteValues; ++i) {
      const int count = s.histogram[c][i];
      s.histogram[c][i] = below;
      below += count;
    }
  }
  team.sync();
  for (int c = 0; c < shape.channels; ++c)
    for (int i = team.rank(); i < kByteValues; i += team.size())
      s.table[c][i] = equalize_entry(s.parameters[c][0], s.histogram[c][i], i);
}

EKD_TEAM_TEMPLATE
template <class Team>
EKD_HOST_DEVICE void through_table(PlanarShape shape, const std::uint8_t* source, std::uint8_t* target,
                                   const AugmixScratch& s, const Team& team) {
  team.sync();
  for (int c = 0; c < shape.channels; ++c)
    for (int i = team.rank(); i < shape.pixels(); i += team.size())
      target[c * shape.pixels() + i] = s.table[c][source[c * shape.pixels() + i]];
}

EKD_TEAM_TEMPLATE
template <class Team>
EKD_HOST_DEVICE void bilinear_image(const Affine& map, PlanarShape shape, const std::uint8_t* source,
                                    std::uint8_t* target, const Team& team) {
  const int pixels = shape.pixels();
  for (int i = team.rank(); i < pixels; i += team.size()) {
    BilinearSample sample;
    const bool within = bilinear_sample(map, {i % shape.width, i / shape.width}, shape.width, shape.height, &sample);
    for (int c = 0; c < shape.channels; ++c)
      target[c * pixels + i] = within ? bilinear_value(source + c * pixels, sample) : std::uint8_t{0};
  }
}

// Whole pixels: what the bilinear path gives for them, without its arithmetic.
EKD_TEAM_TEMPLATE
template <class Team>
EKD_HOST_DEVICE void translate_image(Pixel shift, PlanarShape shape, const std::uint8_t* source, std::uint8_t* target,
                                     const Team& team) {
  const int pixels = shape.pixels();
  for (int i = team.rank(); i < pixels; i += team.size()) {
    const Pixel from{i % shape.width + shift.x, i / shape.width + shift.y};
    const bool within = inside(from, shape.width, shape.height);
    const int offset = from.y * shape.width + from.x;
    for (int c = 0; c < shape.channels; ++c)
      target[c * pixels + i] = within ? source[c * pixels + offset] : std::uint8_t{0};
  }
}

// source and target: bytes [channels, height, width], different; rotations: kRotations matrices from -kMostRotation
// degrees. All workers return with the target visible to all.
EKD_TEAM_TEMPLATE
template <class Team>
EKD_HOST_DEVICE void apply_augmix_op(AugmixOp op, double amount, const Affine* rotations, PlanarShape shape,
                                     const std::uint8_t* source, std::uint8_t* target, AugmixScratch& s,
                                     const Team& team) {
  const int whole = static_cast<int>(amount);
  const int bytes = shape.channels * shape.pixels();
  switch (op) {
    case AugmixOp::kNone:
      for (int i = team.rank(); i < bytes; i += team.size()) target[i] = source[i];
      break;
    case AugmixOp::kAutocontrast:
      count_values(shape, source, s, team);
      autocontrast_table(shape, s, team);
      through_table(shape, source, target, s, team);
      break;
    case AugmixOp::kEqualize:
      count_values(shape, source, s, team);
      equalize_table(shape, s, team);
      through_table(shape, source, target, s, team);
      break;
    case AugmixOp::kPosterize:
      for (int i = team.rank(); i < bytes; i += team.size()) target[i] = posterize(source[i], whole);
      break;
    case AugmixOp::kRotate:
      bilinear_image(rotations[whole + kMostRotation], shape, source, target, team);
      break;
    case AugmixOp::kSolarize:
      for (int i = team.rank(); i < bytes; i += team.size()) target[i] = solarize(source[i], whole);
      break;
    case AugmixOp::kShearX:
      bilinear_image({{1, amount, 0, 0, 1, 0}}, shape, source, target, team);
      break;
    case AugmixOp::kShearY:
      bilinear_image({{1, 0, 0, amount, 1, 0}}, shape, source, target, team);
      break;
    case AugmixOp::kTranslateX:
      translate_image({whole, 0}, shape, source, target, team);
      break;
    case AugmixOp::kTranslateY:
      translate_image({0, whole}, shape, source, target, team);
      break;
  }
  team.sync();
}

// A team of one.
struct SerialTeam {
  static constexpr int rank() { return 0; }
  static constexpr int size() { return 1; }
  static void sync() {}
  static void increment(int* counter) { ++*counter; }
};

}  // namespace ekd

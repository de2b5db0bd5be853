// Operations on single bytes, and the tables of Pillow's autocontrast and equalize, from a channel's histogram.
#pragma once

#include <cstdint>

#include "ekd/kernels/host_device.h"

namespace ekd {

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

}  // namespace ekd

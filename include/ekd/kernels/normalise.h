// Bytes to normalised floats: (pixel / 255 - mean) / std in float32, one rounding per operation, which is the
// arithmetic of torchvision's ToTensor and Normalize.
#pragma once

#include <cstdint>

#include "ekd/kernels/host_device.h"

namespace ekd {

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

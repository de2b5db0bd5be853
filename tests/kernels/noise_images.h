// Images of uniform noise for tests: the same ones every time.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstdint>

#include "ekd/core/random.h"

namespace ekd {

// uint8 [count, channels, height, width].
inline at::Tensor noise_images(std::int64_t count, std::int64_t channels, std::int64_t height, std::int64_t width) {
  const CountedRandom random(99, RandomStream::kSynthetic);
  at::Tensor images = at::empty({count, channels, height, width}, at::kByte);
  auto* byte = images.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < images.numel(); ++i)
    byte[i] = static_cast<std::uint8_t>(random.below(256, 0, 0, static_cast<std::uint32_t>(i)));
  return images;
}

}  // namespace ekd

// Mean and standard deviation of each channel.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace ekd {

// Of pixels / 255, over all pixels (divisor n), from exact sums: the same whatever the number of threads.
struct PixelStatistics {
  std::vector<double> mean, std;  // of as many channels as the images have
};

// images uint8 [N, C, H, W], contiguous, N at least 1.
PixelStatistics pixel_statistics(const at::Tensor& images);

}  // namespace ekd

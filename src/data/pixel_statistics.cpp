#include "data/pixel_statistics.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <mutex>

namespace ekd {

// 2^63 holds the squares of more than 10^14 pixels.
PixelStatistics pixel_statistics(const at::Tensor& images) {
  TORCH_CHECK(images.dim() == 4 && images.is_contiguous() && images.scalar_type() == at::kByte && images.size(0) > 0,
              "images are contiguous uint8 [N, C, H, W]");
  constexpr std::int64_t kImagesPerChunk = 64;
  const auto channels = static_cast<std::size_t>(images.size(1));
  const std::int64_t plane = images.size(2) * images.size(3);
  const auto* pixels = images.const_data_ptr<std::uint8_t>();
  std::vector<std::int64_t> sums(channels), squares(channels);
  std::mutex mutex;
  at::parallel_for(0, images.size(0), kImagesPerChunk, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::int64_t> own_sums(channels), own_squares(channels);
    const std::uint8_t* pixel = pixels + begin * static_cast<std::int64_t>(channels) * plane;
    for (std::int64_t image = begin; image < end; ++image)
      for (std::size_t channel = 0; channel < channels; ++channel, pixel += plane) {
        std::int64_t sum = 0, square = 0;
        for (std::int64_t i = 0; i < plane; ++i) {
          sum += pixel[i];
          square += pixel[i] * pixel[i];
        }
        own_sums[channel] += sum;
        own_squares[channel] += square;
      }
    const std::lock_guard lock(mutex);
    for (std::size_t channel = 0; channel < channels; ++channel) {
      sums[channel] += own_sums[channel];
      squares[channel] += own_squares[channel];
    }
  });
  PixelStatistics statistics;
  const auto count = static_cast<double>(images.size(0) * plane);
  for (std::size_t channel = 0; channel < channels; ++channel) {
    const double mean = static_cast<double>(sums[channel]) / count;
    const double variance = static_cast<double>(squares[channel]) / count - mean * mean;
    statistics.mean.push_back(mean / 255);
    statistics.std.push_back(std::sqrt(std::max(0.0, variance)) / 255);
  }
  return statistics;
}

}  // namespace ekd

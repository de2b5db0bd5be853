#include "kernels/conv/depthwise_loops.h"

#include "kernels/cpu_loops.h"
#include "kernels/simd_pair.h"

namespace ekd {
namespace {

static_assert(kDepthwiseLeastChannels % kLanes == 0);

// Calls work(first channel) for vectors that cover all channels. The last one overlaps the one before instead of being
// cut short: its channels are computed twice and come out the same.
template <class Work>
void for_channels(std::int64_t channels, const Work& work) {
  for (std::int64_t c = 0; c < channels; c += kLanes) work(c + kLanes <= channels ? c : channels - kLanes);
}

// Distance in `padded` from a window's upper left number to each tap's.
struct TapOffsets {
  explicit TapOffsets(const DepthwiseShape& shape) {
    for (int tap = 0; tap < kTaps; ++tap) at[tap] = (tap / 3 * shape.padded_width() + tap % 3) * shape.channels;
  }
  std::int64_t at[kTaps];
};

template <class T>
void pad(const T* image, std::int64_t height, std::int64_t width, std::int64_t channels, std::int64_t step,
         float* padded) {
  const std::int64_t padded_width = step * width + 2;
  for (std::int64_t h = 0; h < height; ++h)
    for (std::int64_t w = 0; w < width; ++w) {
      const T* source = image + (h * width + w) * channels;
      float* target = padded + ((step * h + 1) * padded_width + step * w + 1) * channels;
      for_channels(channels, [&](std::int64_t c) { store(load<Pair>(source + c), target + c); });
    }
}

template <class T>
void correlate(const float* padded, const DepthwiseShape& shape, const float* taps, T* out) {
  const TapOffsets offsets(shape);
  for_channels(shape.channels, [&](std::int64_t c) {
    Pair weight[kTaps];
    for (int tap = 0; tap < kTaps; ++tap) weight[tap] = load<Pair>(taps + tap * shape.channels + c);
    for (std::int64_t h = 0; h < shape.height; ++h)
      for (std::int64_t w = 0; w < shape.width; ++w) {
        const float* window = padded + (shape.stride * (h * shape.padded_width() + w)) * shape.channels + c;
        Pair sum = zero<Pair>();
        for (int tap = 0; tap < kTaps; ++tap)
          sum = multiply_add(load<Pair>(window + offsets.at[tap]), weight[tap], sum);
        store(sum, out + (h * shape.width + w) * shape.channels + c);
      }
  });
}

template <class T>
void tap_gradient(const float* padded, const T* grad, std::int64_t images, const DepthwiseShape& shape, float* taps) {
  const TapOffsets offsets(shape);
  for_channels(shape.channels, [&](std::int64_t c) {
    Pair sum[kTaps];
    for (auto& tap : sum) tap = zero<Pair>();
    for (std::int64_t image = 0; image < images; ++image)
      for (std::int64_t h = 0; h < shape.height; ++h)
        for (std::int64_t w = 0; w < shape.width; ++w) {
          const float* window = padded + image * shape.padded_size() +
                                (shape.stride * (h * shape.padded_width() + w)) * shape.channels + c;
          const Pair g = load<Pair>(grad + ((image * shape.height + h) * shape.width + w) * shape.channels + c);
          for (int tap = 0; tap < kTaps; ++tap)
            sum[tap] = multiply_add(load<Pair>(window + offsets.at[tap]), g, sum[tap]);
        }
    for (int tap = 0; tap < kTaps; ++tap) store(sum[tap], taps + tap * shape.channels + c);
  });
}

}  // namespace

extern const DepthwiseTable EKD_TABLE(kDepthwise){{pad<float>, correlate<float>, tap_gradient<float>},
                                                  {pad<BFloat16>, correlate<BFloat16>, tap_gradient<BFloat16>}};

}  // namespace ekd

#include "kernels/conv/depthwise_loops.h"

#include "kernels/cpu_loops.h"
#include "kernels/simd/pair.h"

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
    for (int tap = 0; tap < kDepthwiseTaps; ++tap)
      at[tap] = (tap / 3 * shape.padded_width() + tap % 3) * shape.channels;
  }
  std::int64_t at[kDepthwiseTaps];
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
    Pair weight[kDepthwiseTaps];
    for (int tap = 0; tap < kDepthwiseTaps; ++tap) weight[tap] = load<Pair>(taps + tap * shape.channels + c);
    for (std::int64_t h = 0; h < shape.height; ++h)
      for (std::int64_t w = 0; w < shape.width; ++w) {
        const float* window = padded + (shape.stride * (h * shape.padded_width() + w)) * shape.channels + c;
        Pair sum = zero<Pair>();
        for (int tap = 0; tap < kDepthwiseTaps; ++tap)
          sum = multiply_add(load<Pair>(window + offsets.at[tap]), weight[tap], sum);
        store(sum, out + (h * shape.width + w) * shape.channels + c);
      }
  });
}

template <class T>
void tap_gradient(const float* padded, const T* grad, std::int64_t images, const DepthwiseShape& shape, float* taps) {
  const TapOffsets offsets(shape);
  for_channels(shape.channels, [&](std::int64_t c) {
    Pair sum[kDepthwiseTaps];
    for (auto& tap : sum) tap = zero<Pair>();
    for (std::int64_t image = 0; image < images; ++image)
      for (std::int64_t h = 0; h < shape.height; ++h)
        for (std::int64_t w = 0; w < shape.width; ++w) {
          const float* window = padded + image * shape.padded_size() +
                                (shape.stride * (h * shape.padded_width() + w)) * shape.channels + c;
          const Pair g = load<Pair>(grad + ((image * shape.height + h) * shape.width + w) * shape.channels + c);
          for (int tap = 0; tap < kDepthwiseTaps; ++tap)
            sum[tap] = multiply_add(load<Pair>(window + offsets.at[tap]), g, sum[tap]);
        }
    for (int tap = 0; tap < kDepthwiseTaps; ++tap) store(sum[tap], taps + tap * shape.channels + c);
  });
}

// With kGroups or kWidth known the compiler moves whole vectors; 0 stands for any number.
template <int kGroups, int kWidth, class T>
void shuffle_rows(const T* __restrict in, std::int64_t rows, std::int64_t any_groups, std::int64_t any_width,
                  T* __restrict out) {
  const std::int64_t groups = kGroups ? kGroups : any_groups, width = kWidth ? kWidth : any_width;
  for (std::int64_t row = 0; row < rows; ++row, in += groups * width, out += groups * width) {
    if constexpr (kWidth) {
      for (std::int64_t g = 0; g < groups; ++g)
        for (int i = 0; i < kWidth; ++i) out[i * groups + g] = in[g * kWidth + i];
    } else {
      for (std::int64_t i = 0; i < width; ++i)
        for (std::int64_t g = 0; g < groups; ++g) out[i * groups + g] = in[g * width + i];
    }
  }
}

// Three groups are ShuffleNet's; its way back is the shuffle of groups of three.
template <class T>
void shuffle(const T* in, std::int64_t rows, std::int64_t groups, std::int64_t width, T* out) {
  if (groups == 3) return shuffle_rows<3, 0>(in, rows, groups, width, out);
  if (width == 3) return shuffle_rows<0, 3>(in, rows, groups, width, out);
  shuffle_rows<0, 0>(in, rows, groups, width, out);
}

}  // namespace

extern const DepthwiseTable EKD_TABLE(kDepthwise){{pad<float>, correlate<float>, tap_gradient<float>},
                                                  {pad<BFloat16>, correlate<BFloat16>, tap_gradient<BFloat16>}};

extern const ChannelShuffleTable EKD_TABLE(kChannelShuffle){shuffle<std::uint32_t>, shuffle<std::uint16_t>};

}  // namespace ekd

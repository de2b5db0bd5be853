// The inner loops of 3×3 depthwise convolutions and of the shuffle of channels before them, over raw memory in [H, W,
// C] order: one table for each instruction set, compiled from one source (src/kernels/simd/depthwise_loops.cpp).
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>

namespace ekd {

// Fewer channels than one vector are not taken.
constexpr std::int64_t kDepthwiseLeastChannels = 32;

constexpr int kDepthwiseTaps = 9;  // of a 3×3 kernel, row by row

struct DepthwiseShape {
  std::int64_t height = 0, width = 0;  // of the result
  std::int64_t channels = 0;
  std::int64_t stride = 1;  // 1 or 2
  // Of the image with a border of zeros around it.
  std::int64_t padded_width() const { return stride * width + 2; }
  std::int64_t padded_size() const { return (stride * height + 2) * padded_width() * channels; }
};

// T is float or c10::BFloat16.
template <class T>
struct DepthwiseLoops {
  // One image of height · width pixels into the inside of `padded`, every `step`-th pixel from the first; the rest of
  // `padded` stays as it is.
  void (*pad)(const T* image, std::int64_t height, std::int64_t width, std::int64_t channels, std::int64_t step,
              float* padded);

  // out [height, width, C] = Σ over taps of padded · taps [9, C].
  void (*correlate)(const float* padded, const DepthwiseShape& shape, const float* taps, T* out);

  // taps [9, C] = Σ over `images` images and their pixels of padded · grad.
  void (*tap_gradient)(const float* padded, const T* grad, std::int64_t images, const DepthwiseShape& shape,
                       float* taps);
};

struct DepthwiseTable {
  DepthwiseLoops<float> fp32;
  DepthwiseLoops<c10::BFloat16> bf16;
};

extern const DepthwiseTable kDepthwisePlain;
#ifdef EKD_X86_KERNELS
extern const DepthwiseTable kDepthwiseAvx2;
extern const DepthwiseTable kDepthwiseAvx512;
#endif

// Reads every row of groups · width numbers as [groups, width] and writes it as [width, groups]. T is a number's bits.
template <class T>
using ShuffleLoop = void (*)(const T* in, std::int64_t rows, std::int64_t groups, std::int64_t width, T* out);

struct ChannelShuffleTable {
  ShuffleLoop<std::uint32_t> four_bytes;
  ShuffleLoop<std::uint16_t> two_bytes;
};

extern const ChannelShuffleTable kChannelShufflePlain;
#ifdef EKD_X86_KERNELS
extern const ChannelShuffleTable kChannelShuffleAvx2;
extern const ChannelShuffleTable kChannelShuffleAvx512;
#endif

}  // namespace ekd

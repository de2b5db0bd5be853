// Depthwise 3×3 convolutions of bfloat16 images, channels_last, padded by 1, stride 1 or 2, forward and backward, with
// the normalisation before (and ReLU, and ShuffleNet's shuffle of channels) done to what is read and the sums for the
// one behind taken of the result. A lane is a channel; a thread makes four pixels of a column, one below the other.
#pragma once

#include "kernels/fused/rows.h"

namespace ekd {

constexpr int kDepthwiseThreads = 256, kDepthwiseWarps = kDepthwiseThreads / kWarp, kDepthwisePixels = 4;

struct DepthwiseTask {
  int images, height, width, out_height, out_width;  // of the input and the result
  int channels, stride,
      groups;  // groups: channel p of the convolution is input channel p / groups + p % groups · (channels / groups)
  Operand input;       // plain or normalised
  const Bf16* weight;  // [channels, 3, 3]
  // Forward
  Bf16* y;
  Fixed* moments;  // of y, or null
  // Backward, where there is grad_x
  Operand grad;   // by y: plain or of y's normalisation
  Bf16* grad_x;   // behind the mask of input's ReLU, in the input's order of channels
  Fixed* slopes;  // null where the input is plain
  Fixed *weight_sums, *bad;

  EKD_HOST_DEVICE int input_channel(int p) const { return p / groups + p % groups * (channels / groups); }
};

// Where a thread works: its channel and a strip of pixels in an image of height × width.
struct DepthwisePlace {
  int channel, image, y, x;
};
EKD_HOST_DEVICE inline int depthwise_strips(int images, int height, int width) {
  return images * ((height + kDepthwisePixels - 1) / kDepthwisePixels) * width;
}
EKD_TEAM_TEMPLATE
template <class Block>
EKD_HOST_DEVICE inline int depthwise_channel(Block& block) {
  return block.y() * kWarp + block.thread() % kWarp;
}
// Calls make(place) for each of the thread's strips.
EKD_TEAM_TEMPLATE
template <class Block, class Make>
EKD_HOST_DEVICE inline void each_strip(Block& block, int images, int height, int width, int channels,
                                       const Make& make) {
  const int channel = depthwise_channel(block), strips = depthwise_strips(images, height, width);
  const int down = (height + kDepthwisePixels - 1) / kDepthwisePixels;
  if (channel >= channels) return;
#pragma unroll 1
  for (int strip = block.x() * kDepthwiseWarps + block.thread() / kWarp; strip < strips;
       strip += block.blocks_x() * kDepthwiseWarps)
    make(DepthwisePlace{channel, strip / (width * down), strip / width % down * kDepthwisePixels, strip % width});
}

// Adds every lane's kCount sums over the block's warps; the sums of lane l's channel come to the threads of lane l:
// take(k, sum) is called for each k once.
EKD_TEAM_TEMPLATE
template <int kCount, class Block, class Take>
EKD_HOST_DEVICE inline void sum_over_warps(Block& block, const float (&sums)[kCount], const Take& take) {
  auto* shared = reinterpret_cast<float*>(block.shared());  // [kCount, kDepthwiseWarps, kWarp]
#pragma unroll
  for (int k = 0; k < kCount; ++k) shared[k * kDepthwiseThreads + block.thread()] = sums[k];
  block.sync();
  for (int k = block.thread() / kWarp; k < kCount; k += kDepthwiseWarps) {
    float sum = 0;
    for (int w = 0; w < kDepthwiseWarps; ++w) sum += shared[k * kDepthwiseThreads + w * kWarp + block.thread() % kWarp];
    take(k, sum);
  }
}

template <int kStride>
struct DepthwiseForward {
  static constexpr int kThreads = kDepthwiseThreads, kBlocksAtOnce = 4, kSums = 2;
  DepthwiseTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    float sums[kSums] = {};
    const int channel = depthwise_channel(block);
    const int from = channel < task.channels ? task.input_channel(channel) : 0;
    const NormChannel norm = task.input.norm.is_there() ? norm_channel(task.input.norm, from) : NormChannel{};
    each_strip(block, task.images, task.out_height, task.out_width, task.channels,
               [&](const DepthwisePlace& at) { make(at, from, norm, sums); });
    if (!task.moments) return;
    sum_over_warps(block, sums, [&](int k, float sum) {
      if (channel >= task.channels) return;
      Fixed* to = task.moments + channel;
      add_fixed(block, sum, kMomentsOne, to + (k == 0 ? kMomentSum : kMomentSquare) * task.channels,
                to + kMomentBad * task.channels);
    });
  }

 private:
  EKD_HOST_DEVICE void make(const DepthwisePlace& at, int from, const NormChannel& norm, float (&sums)[kSums]) const {
    constexpr int kRows = (kDepthwisePixels - 1) * kStride + 3;
    const bool normalised = task.input.norm.is_there();
    float window[kRows][3], weight[9];
#pragma unroll
    for (int k = 0; k < 9; ++k) weight[k] = to_float(task.weight[at.channel * 9 + k]);
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < 3; ++j) {
        const int y = at.y * kStride - 1 + i, x = at.x * kStride - 1 + j;
        const bool inside = y >= 0 && y < task.height && x >= 0 && x < task.width;
        window[i][j] =
            inside ? to_float(task.input.x[((static_cast<std::int64_t>(at.image) * task.height + y) * task.width + x) *
                                               task.channels +
                                           from])
                   : 0;
        if (normalised && inside)
          window[i][j] = to_float(from_float<Bf16>(rectified(bn_normalised(window[i][j], {norm.scale, norm.shift}))));
      }
#pragma unroll
    for (int p = 0; p < kDepthwisePixels; ++p) {
      const int y = at.y + p;
      if (y >= task.out_height) break;
      float value = 0;
#pragma unroll
      for (int k = 0; k < 9; ++k) value = fmaf(window[p * kStride + k / 3][k % 3], weight[k], value);
      const Bf16 result = from_float<Bf16>(value);
      task.y[((static_cast<std::int64_t>(at.image) * task.out_height + y) * task.out_width + at.x) * task.channels +
             at.channel] = result;
      const float rounded = to_float(result);
      sums[0] += rounded;
      sums[1] = fmaf(rounded, rounded, sums[1]);
    }
  }
};

// Both gradients: a thread's four pixels are the input's.
template <int kStride>
struct DepthwiseBackward {
  static constexpr int kThreads = kDepthwiseThreads, kBlocksAtOnce = 4;
  static constexpr int kSums = 11;  // nine taps, then the two of the input's normalisation
  DepthwiseTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    float sums[kSums] = {};
    const int channel = depthwise_channel(block), safe = channel < task.channels ? channel : 0;
    const int from = task.input_channel(safe);
    const NormChannel norm = task.input.norm.is_there() ? norm_channel(task.input.norm, from) : NormChannel{};
    const NormSlope slope = task.grad.z ? norm_slope(task.grad.norm, safe) : NormSlope{};
    each_strip(block, task.images, task.height, task.width, task.channels,
               [&](const DepthwisePlace& at) { make(at, from, norm, slope, sums); });
    sum_over_warps(block, sums, [&](int k, float sum) {
      if (channel >= task.channels) return;
      if (k < 9) {
        add_fixed(block, sum, kGradientOne, task.weight_sums + channel * 9 + k, task.bad);
      } else if (task.slopes) {
        Fixed* to = task.slopes + from;
        add_fixed(block, sum, kGradientOne, to + (k == 9 ? kSlopeSum : kSlopeProduct) * task.channels,
                  to + kSlopeBad * task.channels);
      }
    });
  }

 private:
  EKD_HOST_DEVICE float gradient(const DepthwisePlace& at, const NormSlope& slope, int y, int x) const {
    if (y < 0 || y >= task.out_height || x < 0 || x >= task.out_width) return 0;
    const std::int64_t place =
        ((static_cast<std::int64_t>(at.image) * task.out_height + y) * task.out_width + x) * task.channels + at.channel;
    const float g = to_float(task.grad.x[place]);
    if (!task.grad.z) return g;
    return to_float(from_float<Bf16>(
        bn_input_gradient(g, to_float(task.grad.z[place]), slope.scale, {slope.by_x, slope.constant})));
  }

  EKD_HOST_DEVICE void make(const DepthwisePlace& at, int from, const NormChannel& norm, const NormSlope& slope,
                            float (&sums)[kSums]) const {
    // Rows and columns of gradients that the four pixels see: of stride 2 those above and below, left and right of
    // them.
    constexpr int kRows = kStride == 1 ? kDepthwisePixels + 2 : kDepthwisePixels / 2 + 1,
                  kColumns = kStride == 1 ? 3 : 2;
    const bool normalised = task.input.norm.is_there();
    const int first_y = kStride == 1 ? at.y - 1 : at.y / 2, first_x = kStride == 1 ? at.x - 1 : at.x / 2;
    float window[kRows][kColumns], weight[9];
#pragma unroll
    for (int k = 0; k < 9; ++k) weight[k] = to_float(task.weight[at.channel * 9 + k]);
#pragma unroll
    for (int i = 0; i < kRows; ++i)
#pragma unroll
      for (int j = 0; j < kColumns; ++j) window[i][j] = gradient(at, slope, first_y + i, first_x + j);
#pragma unroll
    for (int p = 0; p < kDepthwisePixels; ++p) {
      if (at.y + p >= task.height) break;
      const std::int64_t place =
          ((static_cast<std::int64_t>(at.image) * task.height + at.y + p) * task.width + at.x) * task.channels + from;
      const float number = to_float(task.input.x[place]);
      const float plain = bn_normalised(number, {norm.scale, norm.shift});
      const float input = normalised ? to_float(from_float<Bf16>(rectified(plain))) : number;
      float value = 0;
#pragma unroll
      for (int k = 0; k < 9; ++k) {
        // Input pixel y went into result pixel (y + 1 - k / 3) / stride where that is whole.
        int i, j;
        if constexpr (kStride == 1) {
          i = p + 2 - k / 3;
          j = 2 - k % 3;
        } else {
          // at.y is even: so is y where p is.
          if ((p + 1 - k / 3) % 2 != 0 || (at.x + 1 - k % 3) % 2 != 0) continue;
          i = (p + 1 - k / 3) / 2;
          j = (at.x + 1 - k % 3) / 2 - at.x / 2;
        }
        const float g = kStride == 1 ? window[i][j] : (j == 0 ? window[i][0] : window[i][1]);
        value = fmaf(g, weight[k], value);
        sums[k] = fmaf(g, input, sums[k]);
      }
      if (normalised) value = relu_masked(plain, value);
      const Bf16 result = from_float<Bf16>(value);
      task.grad_x[place] = result;
      const float rounded = to_float(result);
      sums[9] += rounded;
      sums[10] = fmaf(rounded, number - norm.mean, sums[10]);
    }
  }
};

template <template <int> class Kernel, class Run>
auto run_depthwise(const DepthwiseTask& task, int strips, const Run& run) {
  constexpr int kMostBlocks = 528;  // four on each processor of a large GPU: few sums to add
  const int across = (task.channels + kWarp - 1) / kWarp, most = kMostBlocks / across > 0 ? kMostBlocks / across : 1;
  const int blocks = (strips + kDepthwiseWarps - 1) / kDepthwiseWarps;
  const LaunchShape shape{blocks < most ? blocks : most, across, 1, kDepthwiseThreads,
                          4 * kDepthwiseThreads * static_cast<std::size_t>(Kernel<1>::kSums)};
  return task.stride == 1 ? run(Kernel<1>{task}, shape) : run(Kernel<2>{task}, shape);
}
template <class Run>
auto run_fused(const DepthwiseTask& task, const Run& run) {
  if (task.grad_x)
    return run_depthwise<DepthwiseBackward>(task, depthwise_strips(task.images, task.height, task.width), run);
  return run_depthwise<DepthwiseForward>(task, depthwise_strips(task.images, task.out_height, task.out_width), run);
}

}  // namespace ekd

// 3×3 depthwise convolutions on the CPU, and the shuffle of channels before them.
#include "ekd/kernels/conv.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <vector>

#include "kernels/conv/depthwise_loops.h"
#include "kernels/cpu_loops.h"

namespace ekd {
namespace {

constexpr std::int64_t kImages = 4;  // in a block of the weights' gradient: their padded copies fit the cache

template <class T>
const DepthwiseLoops<T>& depthwise_loops() {
  return loops_for<T>(EKD_CPU_TABLE(kDepthwise));
}

// [C, 1, 3, 3] to [9, C], turned by half a turn where `flipped`.
std::vector<float> tap_rows(const at::Tensor& weight, bool flipped) {
  const at::Tensor plain = weight.contiguous();
  const float* values = plain.const_data_ptr<float>();
  const std::int64_t channels = weight.size(0);
  std::vector<float> taps(kDepthwiseTaps * channels);
  for (std::int64_t c = 0; c < channels; ++c)
    for (int tap = 0; tap < kDepthwiseTaps; ++tap)
      taps[tap * channels + c] = values[c * kDepthwiseTaps + (flipped ? kDepthwiseTaps - 1 - tap : tap)];
  return taps;
}

// Convolves every image of `in`, its pixels `step` apart, into `out`.
template <class T>
void convolve(const at::Tensor& in, std::int64_t step, const std::vector<float>& taps, std::int64_t stride,
              const at::Tensor& out) {
  const std::int64_t height = in.size(2), width = in.size(3), channels = in.size(1);
  const DepthwiseShape shape{out.size(2), out.size(3), channels, stride};
  const T* source = in.const_data_ptr<T>();
  T* target = out.mutable_data_ptr<T>();
  at::parallel_for(0, in.size(0), 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> padded(shape.padded_size());
    for (std::int64_t n = begin; n < end; ++n) {
      depthwise_loops<T>().pad(source + n * height * width * channels, height, width, channels, step, padded.data());
      depthwise_loops<T>().correlate(padded.data(), shape, taps.data(),
                                     target + n * shape.height * shape.width * channels);
    }
  });
}

template <class T>
at::Tensor weight_gradient(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight, std::int64_t stride) {
  const std::int64_t images = x.size(0), channels = x.size(1), pixels = x.size(2) * x.size(3);
  const DepthwiseShape shape{grad.size(2), grad.size(3), channels, stride};
  const std::int64_t blocks = (images + kImages - 1) / kImages, values = kDepthwiseTaps * channels;
  std::vector<float> parts(blocks * values);
  const T *source = x.const_data_ptr<T>(), *upper = grad.const_data_ptr<T>();
  at::parallel_for(0, blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> padded(kImages * shape.padded_size());
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t first = block * kImages, count = std::min(kImages, images - first);
      for (std::int64_t n = 0; n < count; ++n)
        depthwise_loops<T>().pad(source + (first + n) * pixels * channels, x.size(2), x.size(3), channels, /*step=*/1,
                                 padded.data() + n * shape.padded_size());
      depthwise_loops<T>().tap_gradient(padded.data(), upper + first * shape.height * shape.width * channels, count,
                                        shape, parts.data() + block * values);
    }
  });
  at::Tensor result = at::empty(weight.sizes(), weight.options());
  float* out = result.mutable_data_ptr<float>();
  for (std::int64_t c = 0; c < channels; ++c)
    for (int tap = 0; tap < kDepthwiseTaps; ++tap) {
      double sum = 0;
      for (std::int64_t block = 0; block < blocks; ++block) sum += parts[block * values + tap * channels + c];
      out[c * kDepthwiseTaps + tap] = static_cast<float>(sum);
    }
  return result;
}

template <class T>
DepthwiseGradients backward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                            std::int64_t stride) {
  const DepthwiseGradients gradients{at::empty_like(x), weight_gradient<T>(grad, x, weight, stride)};
  // A transposed convolution is one with the kernel turned around, over pixels as far apart as the stride.
  convolve<T>(grad, stride, tap_rows(weight, /*flipped=*/true), /*stride=*/1, gradients.x);
  return gradients;
}

constexpr std::int64_t kShuffleGrain = 16'384;  // fewest numbers for a thread

template <class T>
void shuffle_rows(ShuffleLoop<T> loop, const at::Tensor& x, std::int64_t groups, const at::Tensor& y) {
  const std::int64_t channels = x.size(1), rows = x.numel() / channels;
  const T* in = static_cast<const T*>(x.const_data_ptr());
  T* out = static_cast<T*>(y.mutable_data_ptr());
  at::parallel_for(0, rows, std::max<std::int64_t>(1, kShuffleGrain / channels),
                   [&](std::int64_t begin, std::int64_t end) {
                     loop(in + begin * channels, end - begin, groups, channels / groups, out + begin * channels);
                   });
}

}  // namespace

bool depthwise_takes(const at::Tensor& x, std::int64_t stride) {
  return x.is_cpu() && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) && x.dim() == 4 &&
         x.numel() > 0 && x.size(1) >= kDepthwiseLeastChannels && (stride == 1 || stride == 2) &&
         x.size(2) % stride == 0 && x.size(3) % stride == 0 && x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor depthwise_forward(const at::Tensor& x, const at::Tensor& weight, std::int64_t stride) {
  TORCH_CHECK(depthwise_takes(x, stride), "depthwise: x has no layout for it");
  const at::Tensor y = at::empty({x.size(0), x.size(1), x.size(2) / stride, x.size(3) / stride}, x.options(),
                                 at::MemoryFormat::ChannelsLast);
  const auto taps = tap_rows(weight, /*flipped=*/false);
  if (x.scalar_type() == at::kFloat)
    convolve<float>(x, /*step=*/1, taps, stride, y);
  else
    convolve<c10::BFloat16>(x, /*step=*/1, taps, stride, y);
  return y;
}

DepthwiseGradients depthwise_backward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                                      std::int64_t stride) {
  TORCH_CHECK(depthwise_takes(x, stride) && grad.scalar_type() == x.scalar_type() &&
                  grad.is_contiguous(at::MemoryFormat::ChannelsLast),
              "depthwise: x or grad has no layout for it");
  return x.scalar_type() == at::kFloat ? backward<float>(grad, x, weight, stride)
                                       : backward<c10::BFloat16>(grad, x, weight, stride);
}

bool shuffle_by_groups_takes(const at::Tensor& x) {
  return x.is_cpu() && (x.element_size() == 4 || x.element_size() == 2) && x.dim() == 4 && x.numel() > 0 &&
         x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

at::Tensor shuffle_by_groups(const at::Tensor& x, std::int64_t groups) {
  TORCH_CHECK(shuffle_by_groups_takes(x) && groups >= 1 && x.size(1) % groups == 0,
              "shuffle_by_groups: x is not made for it, or ", groups, " groups do not divide its channels");
  const at::Tensor y = at::empty_like(x);
  const ChannelShuffleTable& loops = EKD_CPU_TABLE(kChannelShuffle);
  if (x.element_size() == 4)
    shuffle_rows(loops.four_bytes, x, groups, y);
  else
    shuffle_rows(loops.two_bytes, x, groups, y);
  return y;
}

}  // namespace ekd

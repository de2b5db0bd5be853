#include "ekd/kernels/conv.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <bit>
#include <memory>
#include <vector>

#include "kernels/conv/winograd_loops.h"
#include "kernels/cpu_loops.h"

namespace ekd {
namespace {

const WinogradLoops& loops() { return EKD_CPU_TABLE(kWinograd); }

WinogradShape shape_of(const at::Tensor& x, const at::Tensor& weight) {
  return {x.size(0), x.size(2), x.size(3), weight.size(1), weight.size(0)};
}

at::Tensor result_like(const at::Tensor& x, std::int64_t channels) {
  return at::empty({x.size(0), channels, x.size(2), x.size(3)}, x.options(), at::MemoryFormat::ChannelsLast);
}

std::unique_ptr<float[]> uninitialised(std::int64_t size) { return std::unique_ptr<float[]>(new float[size]); }

// transform(some of the channels, target) for a convolution from `in` to `out` channels.
template <class Transform>
std::unique_ptr<float[]> transformed_weights(std::int64_t in, std::int64_t out, const Transform& transform) {
  auto transformed = uninitialised(kWinogradPoints * in * out);
  at::parallel_for(0, out / kWinogradChannels, 1, [&](std::int64_t first, std::int64_t last) {
    transform(WinogradChannels{in, out, first * kWinogradChannels, last * kWinogradChannels}, transformed.get());
  });
  return transformed;
}

std::unique_ptr<float[]> forward_weights(const at::Tensor& weight, const float* scale) {
  const at::Tensor lying = weight.contiguous(at::MemoryFormat::ChannelsLast);
  return transformed_weights(weight.size(1), weight.size(0), [&](const WinogradChannels& channels, float* target) {
    loops().forward_weights(lying.const_data_ptr<float>(), scale, channels, target);
  });
}

std::unique_ptr<float[]> backward_weights(const at::Tensor& weight) {
  const at::Tensor lying = weight.contiguous(at::MemoryFormat::ChannelsLast);
  return transformed_weights(weight.size(0), weight.size(1), [&](const WinogradChannels& channels, float* target) {
    loops().backward_weights(lying.const_data_ptr<float>(), channels, target);
  });
}

void convolve_tiles(const WinogradConvolution& task) {
  at::parallel_for(0, task.shape.tiles(), kWinogradBlock / 2, [&](std::int64_t first, std::int64_t last) {
    const auto scratch = uninitialised(loops().scratch_size(task.shape));
    loops().convolve(task, first, last, scratch.get());
  });
}

// y = the convolution, and what lies at `residual`, which may be y itself, where that is not null.
void convolve(const at::Tensor& x, const at::Tensor& weight, const float* residual, const at::Tensor& y) {
  const auto weights = forward_weights(weight, nullptr);
  convolve_tiles({.shape = shape_of(x, weight),
                  .x = x.const_data_ptr<float>(),
                  .weight = weights.get(),
                  .residual = residual,
                  .y = y.mutable_data_ptr<float>()});
}

// Parts of a weight's gradient, each with sums of its own: more serve more threads, but all have to be added up.
// A power of two divides best among threads.
constexpr std::int64_t kMostParts = 16;
constexpr std::int64_t kMostSums = 1 << 22;  // of all parts

std::int64_t parts_of(const WinogradShape& shape) {
  const auto fitting = static_cast<std::uint64_t>(kMostSums / loops().sums_size(shape.in, shape.out));
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(std::bit_floor(fitting)), 1, kMostParts);
}

at::Tensor weight_gradient(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight) {
  const WinogradShape shape = shape_of(x, weight);
  const std::int64_t tiles = shape.tiles();
  const std::int64_t part_tiles = std::max(kWinogradBlock, (tiles + parts_of(shape) - 1) / parts_of(shape));
  const std::int64_t parts = (tiles + part_tiles - 1) / part_tiles, size = loops().sums_size(shape.in, shape.out);
  const auto sums = uninitialised(parts * size);
  at::parallel_for(0, parts, 1, [&](std::int64_t begin, std::int64_t end) {
    const auto scratch = uninitialised(loops().scratch_size(shape));
    for (std::int64_t part = begin; part < end; ++part)
      loops().weight_sums(x.const_data_ptr<float>(), grad.const_data_ptr<float>(), shape, part * part_tiles,
                          std::min(tiles, (part + 1) * part_tiles), sums.get() + part * size, scratch.get());
  });
  const at::Tensor gradient = at::empty(weight.sizes(), weight.options(), at::MemoryFormat::ChannelsLast);
  at::parallel_for(0, shape.out, 4, [&](std::int64_t first, std::int64_t last) {
    loops().weight_gradient(sums.get(), parts, shape.in, shape.out, first, last, gradient.mutable_data_ptr<float>());
  });
  return gradient;
}

}  // namespace

bool winograd_takes(const at::Tensor& x, const at::Tensor& weight) {
  const auto fits = [](std::int64_t channels) {
    return channels % kWinogradChannels == 0 && channels > 0 && channels <= kWinogradMostChannels;
  };
  return cpu_capability() != CpuCapability::kPlain && x.is_cpu() && x.scalar_type() == at::kFloat &&
         weight.scalar_type() == at::kFloat && x.dim() == 4 && x.numel() > 0 && x.size(2) % kWinogradSide == 0 &&
         x.size(3) % kWinogradSide == 0 && x.is_contiguous(at::MemoryFormat::ChannelsLast) && weight.dim() == 4 &&
         weight.size(2) == 3 && weight.size(3) == 3 && weight.size(1) == x.size(1) && fits(x.size(1)) &&
         fits(weight.size(0));
}

at::Tensor winograd_forward(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& residual) {
  TORCH_CHECK(winograd_takes(x, weight), "winograd: x or weight is not made for it");
  const at::Tensor y = result_like(x, weight.size(0));
  TORCH_CHECK(!residual.defined() || (residual.sizes() == y.sizes() && residual.scalar_type() == at::kFloat),
              "winograd: the residual is not like the result");
  const at::Tensor added = residual.defined() ? residual.contiguous(at::MemoryFormat::ChannelsLast) : residual;
  convolve(x, weight, added.defined() ? added.const_data_ptr<float>() : nullptr, y);
  return y;
}

void winograd_add_to(const at::Tensor& sum, const at::Tensor& x, const at::Tensor& weight) {
  TORCH_CHECK(winograd_takes(x, weight), "winograd: x or weight is not made for it");
  TORCH_CHECK(sum.sizes() == at::IntArrayRef({x.size(0), weight.size(0), x.size(2), x.size(3)}) &&
                  sum.scalar_type() == at::kFloat && sum.is_contiguous(at::MemoryFormat::ChannelsLast),
              "winograd: the sum is not like the result");
  convolve(x, weight, sum.const_data_ptr<float>(), sum);
}

at::Tensor winograd_relu(const at::Tensor& x, const at::Tensor& weight, const ChannelScaleShift& after,
                         const ChannelScaleShift* before) {
  TORCH_CHECK(winograd_takes(x, weight), "winograd: x or weight is not made for it");
  const at::Tensor y = result_like(x, weight.size(0));
  const auto weights = forward_weights(weight, after.scale.const_data_ptr<float>());
  convolve_tiles({.shape = shape_of(x, weight),
                  .x = x.const_data_ptr<float>(),
                  .x_scale = before ? before->scale.const_data_ptr<float>() : nullptr,
                  .x_shift = before ? before->shift.const_data_ptr<float>() : nullptr,
                  .weight = weights.get(),
                  .shift = after.shift.const_data_ptr<float>(),
                  .y = y.mutable_data_ptr<float>()});
  return y;
}

WinogradGradients winograd_backward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                                    bool wants_x) {
  TORCH_CHECK(winograd_takes(x, weight) && grad.scalar_type() == at::kFloat &&
                  grad.is_contiguous(at::MemoryFormat::ChannelsLast),
              "winograd: x, weight or grad is not made for it");
  WinogradGradients gradients{{}, weight_gradient(grad, x, weight)};
  if (!wants_x) return gradients;
  gradients.x = at::empty_like(x);
  const auto weights = backward_weights(weight);
  convolve_tiles({.shape = shape_of(x, weight).turned(),
                  .x = grad.const_data_ptr<float>(),
                  .weight = weights.get(),
                  .y = gradients.x.mutable_data_ptr<float>()});
  return gradients;
}

}  // namespace ekd

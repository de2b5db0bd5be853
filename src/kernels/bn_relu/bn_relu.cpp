// Batch normalisation with ReLU: the work on the CPU, the launches on CUDA, checks and the choice of the device.
#include "ekd/kernels/bn_relu.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/bn_relu/bn_relu_element.h"
#include "kernels/bn_relu/bn_relu_loops.h"
#include "kernels/bn_relu/bn_relu_passes.h"
#include "kernels/cpu_loops.h"
#include "kernels/cuda_launch.h"

namespace ekd {
namespace {

constexpr std::int64_t kBlock = 16'384;  // numbers that a loop gets at a time: they stay in the cache
constexpr std::int64_t kBnParts = 32;    // of a tensor; each has sums of its own, which one thread adds up

template <class T>
const BnReluLoops<T>& bn_relu_loops() {
  return loops_for<T>(EKD_CPU_TABLE(kBnRelu));
}

// How a tensor is cut into blocks of whole rows, and those into parts, which threads share out. The cut depends on the
// tensor's shape only.
struct Blocks {
  explicit Blocks(const at::Tensor& x)
      : channels(x.size(1)),
        count(x.numel()),
        period(std::lcm(channels, kBnReluColumns)),
        size(period * std::max<std::int64_t>(1, kBlock / period)),
        number((count + size - 1) / size),
        parts(std::min(number, kBnParts)),
        streams(static_cast<std::int64_t>(x.nbytes()) >= kStreamedBytes) {}

  double per_channel() const { return static_cast<double>(count / channels); }

  // Calls work(part, offset, span). Backwards: the last blocks of the pass before are still in the cache.
  template <class Work>
  void each(bool backwards, const Work& work) const {
    at::parallel_for(0, parts, 1, [&](std::int64_t first_part, std::int64_t last_part) {
      for (std::int64_t i = first_part; i < last_part; ++i) {
        const std::int64_t part = backwards ? first_part + last_part - 1 - i : i;
        const std::int64_t begin = first_block(part), end = first_block(part + 1);
        for (std::int64_t j = begin; j < end; ++j) {
          const std::int64_t block = backwards ? begin + end - 1 - j : j;
          work(part, block * size, BnReluSpan{std::min(size, count - block * size), period});
        }
      }
    });
  }

  // Parts differ by at most a block: threads get shares of the same size.
  std::int64_t first_block(std::int64_t part) const { return number * part / parts; }

  // One number a channel, repeated over a row.
  template <class Value>
  std::vector<float> row(const Value& value) const {
    std::vector<float> row(period);
    for (std::int64_t i = 0; i < period; ++i) row[i] = static_cast<float>(value(i % channels));
    return row;
  }

  std::int64_t channels, count, period, size, number, parts;
  bool streams;  // whether results like the tensor go past the caches
};

// Two sums for each channel, gathered part by part.
class ChannelSums {
 public:
  explicit ChannelSums(const Blocks& blocks) : blocks_(blocks), rows_(2 * blocks.parts * blocks.period) {}

  float* first(std::int64_t part) { return rows_.data() + 2 * part * blocks_.period; }
  float* second(std::int64_t part) { return first(part) + blocks_.period; }

  // Totals over all parts: [0] of the first sum, [1] of the second.
  std::vector<double> totals(int which) const {
    std::vector<double> totals(blocks_.channels);
    for (std::int64_t part = 0; part < blocks_.parts; ++part) {
      const float* row = rows_.data() + (2 * part + which) * blocks_.period;
      for (std::int64_t i = 0; i < blocks_.period; i += blocks_.channels)
        for (std::int64_t c = 0; c < blocks_.channels; ++c) totals[c] += row[i + c];
    }
    return totals;
  }

 private:
  const Blocks& blocks_;
  std::vector<float> rows_;
};

// scale and shift of normalisation by `mean` and `invstd`.
struct ChannelAffine {
  ChannelAffine(const Blocks& blocks, const BnParameters& parameters, const float* mean, const float* invstd) {
    const float *weight = parameters.weight.const_data_ptr<float>(), *bias = parameters.bias.const_data_ptr<float>();
    const auto of = [&](std::int64_t c) { return channel_affine(weight[c], bias[c], mean[c], invstd[c]); };
    scale = blocks.row([&](std::int64_t c) { return of(c).scale; });
    shift = blocks.row([&](std::int64_t c) { return of(c).shift; });
  }
  ScaleShift view() const { return {scale.data(), shift.data()}; }

  std::vector<float> scale, shift;
};

template <class T>
BnSaved batch_statistics(const at::Tensor& x, const Blocks& blocks, double eps, const BnRunning& running) {
  const T* data = x.const_data_ptr<T>();
  // About the first pixel rather than 0: a mean far from 0 would eat the digits of the variance.
  const auto origin = blocks.row([&](std::int64_t c) { return data[c]; });
  ChannelSums sums(blocks);
  blocks.each(false, [&](std::int64_t part, std::int64_t offset, BnReluSpan span) {
    bn_relu_loops<T>().moments(data + offset, span, origin.data(), sums.first(part), sums.second(part));
  });
  const auto sum = sums.totals(0), square = sums.totals(1);
  const BnSaved saved{at::empty({blocks.channels}, at::kFloat), at::empty({blocks.channels}, at::kFloat)};
  auto *mean = saved.mean.mutable_data_ptr<float>(), *invstd = saved.invstd.mutable_data_ptr<float>();
  auto *running_mean = running.mean.mutable_data_ptr<float>(), *running_var = running.var.mutable_data_ptr<float>();
  const double n = blocks.per_channel();
  for (std::int64_t c = 0; c < blocks.channels; ++c) {
    const auto [average, var] = channel_moments(origin[c], sum[c], square[c], n);
    mean[c] = static_cast<float>(average);
    invstd[c] = channel_invstd(var, eps);
    running_mean[c] = moved_running(running_mean[c], running.momentum, average);
    running_var[c] = moved_running(running_var[c], running.momentum, unbiased_variance(var, n));
  }
  return saved;
}

template <class T>
at::Tensor normalise(const at::Tensor& x, const at::Tensor& residual, const Blocks& blocks,
                     const ChannelAffine& affine) {
  const at::Tensor y = at::empty_like(x);
  const T* data = x.const_data_ptr<T>();
  const T* added = residual.defined() ? residual.const_data_ptr<T>() : nullptr;
  T* out = y.mutable_data_ptr<T>();
  blocks.each(true, [&](std::int64_t, std::int64_t offset, BnReluSpan span) {
    bn_relu_loops<T>().forward(data + offset, added ? added + offset : nullptr, span, affine.view(), out + offset,
                               blocks.streams);
  });
  return y;
}

template <class T>
BnReluForward forward(const at::Tensor& x, const at::Tensor& residual, const BnParameters& parameters,
                      const BnRunning& running) {
  const Blocks blocks(x);
  const BnSaved saved = batch_statistics<T>(x, blocks, parameters.eps, running);
  const ChannelAffine affine(blocks, parameters, saved.mean.const_data_ptr<float>(),
                             saved.invstd.const_data_ptr<float>());
  return {normalise<T>(x, residual, blocks, affine), saved};
}

template <class T>
BnReluGradients backward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& y,
                         const BnParameters& parameters, const BnSaved& saved) {
  const Blocks blocks(x);
  const auto *mean = saved.mean.const_data_ptr<float>(), *invstd = saved.invstd.const_data_ptr<float>();
  const ChannelAffine affine(blocks, parameters, mean, invstd);
  const bool residual = y.defined();
  BnReluGradients gradients{.x = at::empty_like(x),
                            .residual = residual ? at::empty_like(x) : at::Tensor(),
                            .weight = at::empty({blocks.channels}, at::kFloat),
                            .bias = at::empty({blocks.channels}, at::kFloat)};
  const T *upper = grad.const_data_ptr<T>(), *data = x.const_data_ptr<T>();
  const T* result = residual ? y.const_data_ptr<T>() : nullptr;
  T* masked = residual ? gradients.residual.mutable_data_ptr<T>() : nullptr;

  const auto origin = blocks.row([&](std::int64_t c) { return mean[c]; });
  ChannelSums sums(blocks);
  blocks.each(false, [&](std::int64_t part, std::int64_t offset, BnReluSpan span) {
    bn_relu_loops<T>().backward_sums(upper + offset, data + offset, residual ? result + offset : nullptr, span,
                                     affine.view(), origin.data(), residual ? masked + offset : nullptr, blocks.streams,
                                     sums.first(part), sums.second(part));
  });

  const auto sum = sums.totals(0), product = sums.totals(1);
  auto *weight = gradients.weight.mutable_data_ptr<float>(), *bias = gradients.bias.mutable_data_ptr<float>();
  const double n = blocks.per_channel();
  std::vector<float> by_x(blocks.channels), constant(blocks.channels);
  for (std::int64_t c = 0; c < blocks.channels; ++c) {
    const auto channel = channel_backward(sum[c], product[c], affine.scale[c], mean[c], invstd[c], n);
    weight[c] = channel.grad_weight;
    bias[c] = channel.grad_bias;
    by_x[c] = channel.gradient.by_x;
    constant[c] = channel.gradient.constant;
  }
  const auto x_row = blocks.row([&](std::int64_t c) { return by_x[c]; });
  const auto constant_row = blocks.row([&](std::int64_t c) { return constant[c]; });
  const BnReluInputGradient gradient{affine.scale.data(), x_row.data(), constant_row.data()};
  T* out = gradients.x.mutable_data_ptr<T>();
  blocks.each(true, [&](std::int64_t, std::int64_t offset, BnReluSpan span) {
    bn_relu_loops<T>().backward_input((residual ? masked : upper) + offset, residual, data + offset, span,
                                      affine.view(), gradient, out + offset, blocks.streams);
  });
  return gradients;
}

BnReluForward bn_relu_forward_on_cpu(const at::Tensor& x, const at::Tensor& residual, const BnParameters& parameters,
                                     const BnRunning& running) {
  return x.scalar_type() == at::kFloat ? forward<float>(x, residual, parameters, running)
                                       : forward<c10::BFloat16>(x, residual, parameters, running);
}

at::Tensor bn_relu_inference_on_cpu(const at::Tensor& x, const at::Tensor& residual, const BnParameters& parameters,
                                    const BnRunning& running) {
  const at::Tensor invstd = running.var.add(parameters.eps).rsqrt();
  const Blocks blocks(x);
  const ChannelAffine affine(blocks, parameters, running.mean.const_data_ptr<float>(), invstd.const_data_ptr<float>());
  return x.scalar_type() == at::kFloat ? normalise<float>(x, residual, blocks, affine)
                                       : normalise<c10::BFloat16>(x, residual, blocks, affine);
}

BnReluGradients bn_relu_backward_on_cpu(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& y,
                                        const BnParameters& parameters, const BnSaved& saved) {
  return x.scalar_type() == at::kFloat ? backward<float>(grad, x, y, parameters, saved)
                                       : backward<c10::BFloat16>(grad, x, y, parameters, saved);
}

// On CUDA: from tensors to the kernels' arguments.

#ifdef EKD_WITH_CUDA

void check_channels(const at::Tensor& values, const at::Tensor& x, const char* name) {
  TORCH_CHECK(values.device() == x.device() && values.scalar_type() == at::kFloat && values.is_contiguous() &&
                  values.numel() == x.size(1),
              "bn_relu: ", name, " is not one float32 for each channel on x's device");
}
const float* channels_of(const at::Tensor& values, const at::Tensor& x, const char* name) {
  check_channels(values, x, name);
  return values.const_data_ptr<float>();
}
float* mutable_channels_of(const at::Tensor& values, const at::Tensor& x, const char* name) {
  check_channels(values, x, name);
  return values.mutable_data_ptr<float>();
}

at::Tensor floats(std::int64_t count, const at::Tensor& x) { return at::empty({count}, x.options().dtype(at::kFloat)); }

// The addresses' bitwise or: as much aligned as the least aligned of them.
template <class... Pointers>
std::uintptr_t joined(const Pointers*... pointers) {
  return (std::uintptr_t{0} | ... | reinterpret_cast<std::uintptr_t>(pointers));
}

BnReluGrid grid_of(const at::Tensor& x, std::uintptr_t data, std::uintptr_t values) {
  const auto channels = static_cast<int>(x.size(1));
  return bn_relu_grid(x.numel() / channels, channels,
                      bn_relu_vector(channels, static_cast<int>(x.element_size()), data, values));
}

// Everything but the grid, the scratch memory and what inference has no use for.
BnReluForwardTask forward_task(const at::Tensor& x, const at::Tensor& residual, const at::Tensor& y,
                               const BnParameters& parameters, const BnRunning& running) {
  BnReluForwardTask task{};
  task.bf16 = x.scalar_type() == at::kBFloat16;
  task.x = x.const_data_ptr();
  task.residual = residual.defined() ? residual.const_data_ptr() : nullptr;
  task.y = y.mutable_data_ptr();
  task.weight = channels_of(parameters.weight, x, "the weight");
  task.bias = channels_of(parameters.bias, x, "the bias");
  task.eps = parameters.eps;
  task.momentum = running.momentum;
  task.running_mean = mutable_channels_of(running.mean, x, "the running mean");
  task.running_var = mutable_channels_of(running.var, x, "the running variance");
  return task;
}

// Whether the kernels take so many channels.
bool bn_relu_cuda_takes(const at::Tensor& x) { return x.is_cuda() && x.dim() == 4 && x.size(1) <= kBnReluMaxChannels; }

// On the current stream of x's device, without waiting for it.
BnReluForward bn_relu_forward_on_cuda(const at::Tensor& x, const at::Tensor& residual, const BnParameters& parameters,
                                      const BnRunning& running) {
  const std::int64_t channels = x.size(1);
  const BnReluForward result{at::empty_like(x), {floats(channels, x), floats(channels, x)}};
  BnReluForwardTask task = forward_task(x, residual, result.y, parameters, running);
  task.mean = result.saved.mean.mutable_data_ptr<float>();
  task.invstd = result.saved.invstd.mutable_data_ptr<float>();
  task.grid = grid_of(x, joined(task.x, task.residual, task.y), joined(task.weight, task.bias));
  const std::int64_t partials = bn_relu_partials(task.grid);
  const at::Tensor scratch = floats(partials + 2 * channels, x);
  task.partials = scratch.mutable_data_ptr<float>();
  task.scale = task.partials + partials;
  task.shift = task.scale + channels;
  launch_on_cuda(x.device(), [&](CudaStream stream) { return launch_bn_relu_forward(task, stream); });
  return result;
}

at::Tensor bn_relu_inference_on_cuda(const at::Tensor& x, const at::Tensor& residual, const BnParameters& parameters,
                                     const BnRunning& running) {
  const std::int64_t channels = x.size(1);
  const at::Tensor y = at::empty_like(x), scratch = floats(2 * channels, x);
  BnReluForwardTask task = forward_task(x, residual, y, parameters, running);
  task.grid = grid_of(x, joined(task.x, task.residual, task.y), 0);
  task.scale = scratch.mutable_data_ptr<float>();
  task.shift = task.scale + channels;
  launch_on_cuda(x.device(), [&](CudaStream stream) { return launch_bn_relu_inference(task, stream); });
  return y;
}

BnReluGradients bn_relu_backward_on_cuda(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& y,
                                         const BnParameters& parameters, const BnSaved& saved) {
  const std::int64_t channels = x.size(1);
  const bool residual = y.defined();
  const BnReluGradients gradients{.x = at::empty_like(x),
                                  .residual = residual ? at::empty_like(x) : at::Tensor(),
                                  .weight = floats(channels, x),
                                  .bias = floats(channels, x)};
  BnReluBackwardTask task{};
  task.bf16 = x.scalar_type() == at::kBFloat16;
  task.grad = grad.const_data_ptr();
  task.x = x.const_data_ptr();
  task.y = residual ? y.const_data_ptr() : nullptr;
  task.grad_x = gradients.x.mutable_data_ptr();
  task.masked = residual ? gradients.residual.mutable_data_ptr() : nullptr;
  task.weight = channels_of(parameters.weight, x, "the weight");
  task.bias = channels_of(parameters.bias, x, "the bias");
  task.mean = channels_of(saved.mean, x, "the mean");
  task.invstd = channels_of(saved.invstd, x, "invstd");
  task.grad_weight = gradients.weight.mutable_data_ptr<float>();
  task.grad_bias = gradients.bias.mutable_data_ptr<float>();
  task.grid = grid_of(x, joined(task.grad, task.x, task.y, task.grad_x, task.masked),
                      joined(task.weight, task.bias, task.mean, task.invstd));
  const std::int64_t partials = bn_relu_partials(task.grid);
  const at::Tensor scratch = floats(partials + 4 * channels, x);
  task.partials = scratch.mutable_data_ptr<float>();
  task.scale = task.partials + partials;
  task.shift = task.scale + channels;
  task.by_x = task.shift + channels;
  task.constant = task.by_x + channels;
  launch_on_cuda(x.device(), [&](CudaStream stream) { return launch_bn_relu_backward(task, stream); });
  return gradients;
}
#else
bool bn_relu_cuda_takes(const at::Tensor&) { return false; }

// Never reached: bn_relu_takes refuses. What is thrown names the reason.
BnReluForward bn_relu_forward_on_cuda(const at::Tensor& x, const at::Tensor&, const BnParameters&, const BnRunning&) {
  launch_on_cuda(x.device(), {});
  return {};
}
at::Tensor bn_relu_inference_on_cuda(const at::Tensor& x, const at::Tensor&, const BnParameters&, const BnRunning&) {
  launch_on_cuda(x.device(), {});
  return {};
}
BnReluGradients bn_relu_backward_on_cuda(const at::Tensor&, const at::Tensor& x, const at::Tensor&, const BnParameters&,
                                         const BnSaved&) {
  launch_on_cuda(x.device(), {});
  return {};
}
#endif

void check_like(const at::Tensor& other, const at::Tensor& x, const char* name) {
  TORCH_CHECK(other.sizes() == x.sizes() && other.scalar_type() == x.scalar_type() && other.device() == x.device() &&
                  bn_relu_takes(other),
              name, " is not like x in shape, dtype, layout or device");
}

void check(const at::Tensor& x, const at::Tensor& residual) {
  TORCH_CHECK(bn_relu_takes(x), "bn_relu: x has no layout for it");
  if (residual.defined()) check_like(residual, x, "residual");
}

}  // namespace

bool bn_relu_takes(const at::Tensor& x) {
  return (x.is_cpu() || bn_relu_cuda_takes(x)) && (x.scalar_type() == at::kFloat || x.scalar_type() == at::kBFloat16) &&
         x.dim() == 4 && x.numel() > 0 && x.is_contiguous(at::MemoryFormat::ChannelsLast);
}

BnReluForward bn_relu_forward(const at::Tensor& x, const at::Tensor& residual, const BnParameters& parameters,
                              const BnRunning& running) {
  check(x, residual);
  return (x.is_cpu() ? bn_relu_forward_on_cpu : bn_relu_forward_on_cuda)(x, residual, parameters, running);
}

at::Tensor bn_relu_inference(const at::Tensor& x, const at::Tensor& residual, const BnParameters& parameters,
                             const BnRunning& running) {
  check(x, residual);
  return (x.is_cpu() ? bn_relu_inference_on_cpu : bn_relu_inference_on_cuda)(x, residual, parameters, running);
}

BnReluGradients bn_relu_backward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& y,
                                 const BnParameters& parameters, const BnSaved& saved) {
  check(x, {});
  check_like(grad, x, "grad");
  if (y.defined()) check_like(y, x, "y");
  return (x.is_cpu() ? bn_relu_backward_on_cpu : bn_relu_backward_on_cuda)(grad, x, y, parameters, saved);
}

}  // namespace ekd

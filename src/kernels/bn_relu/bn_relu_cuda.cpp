// Batch normalisation with ReLU on CUDA: from tensors to the kernels' arguments.
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "kernels/bn_relu/bn_relu_cuda.h"
#include "kernels/bn_relu/bn_relu_task.h"
#include "kernels/cuda_launch.h"

namespace ekd {

#ifdef EKD_WITH_CUDA
namespace {

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

}  // namespace

bool bn_relu_cuda_takes(const at::Tensor& x) { return x.is_cuda() && x.dim() == 4 && x.size(1) <= kBnReluMaxChannels; }

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

}  // namespace ekd

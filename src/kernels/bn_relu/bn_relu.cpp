// Batch normalisation with ReLU: checks, and the choice of the device.
#include "ekd/kernels/bn_relu.h"

#include "kernels/bn_relu/bn_relu_devices.h"

namespace ekd {
namespace {

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

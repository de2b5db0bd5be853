// Batch normalisation with ReLU on CUDA; bn_relu.cpp chooses the device and has checked the tensors.
#pragma once

#include "ekd/kernels/bn_relu.h"

namespace ekd {

// Whether this build has the CUDA kernels and they take so many channels.
bool bn_relu_cuda_takes(const at::Tensor& x);
// On the current stream of x's device, without waiting for it.
BnReluForward bn_relu_forward_on_cuda(const at::Tensor& x, const at::Tensor& residual, const BnParameters& parameters,
                                      const BnRunning& running);
at::Tensor bn_relu_inference_on_cuda(const at::Tensor& x, const at::Tensor& residual, const BnParameters& parameters,
                                     const BnRunning& running);
BnReluGradients bn_relu_backward_on_cuda(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& y,
                                         const BnParameters& parameters, const BnSaved& saved);

}  // namespace ekd

// Batch normalisation (Ioffe and Szegedy, 2015), addition of a residual and ReLU as one kernel forward and one
// backward: max(normalised x + residual, 0). Both passes move a third less memory than one kernel for each operation,
// and memory is what bounds these networks.
#pragma once

#include <ATen/core/Tensor.h>

namespace ekd {

// Per channel, float32 [C].
struct BnParameters {
  at::Tensor weight, bias;
  double eps = 1e-5;
};
struct BnRunning {
  at::Tensor mean, var;
  double momentum = 0.1;
};
struct BnSaved {
  at::Tensor mean, invstd;  // of the batch
};

// Whether the kernels take x: float32 or bfloat16 [N, C, H, W] in channels_last layout, on a device that has them.
bool bn_relu_takes(const at::Tensor& x);

struct BnReluForward {
  at::Tensor y;
  BnSaved saved;
};

// By the batch's statistics, moving the running ones. residual: undefined, or like x in shape, dtype and layout; so is
// y. Statistics are sums in float32 over parts of the tensor and in float64 over the parts: the same bits for any
// number of threads.
BnReluForward bn_relu_forward(const at::Tensor& x, const at::Tensor& residual, const BnParameters& parameters,
                              const BnRunning& running);

// By the running statistics.
at::Tensor bn_relu_inference(const at::Tensor& x, const at::Tensor& residual, const BnParameters& parameters,
                             const BnRunning& running);

struct BnReluGradients {
  at::Tensor x, residual;  // residual: undefined where the forward had none
  at::Tensor weight, bias;
};

// grad and x like the forward's y and x; y: the forward's result where it had a residual, else undefined.
BnReluGradients bn_relu_backward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& y,
                                 const BnParameters& parameters, const BnSaved& saved);

}  // namespace ekd

// The arguments of batch normalisation's CUDA kernels. Tensors are [rows, channels], float32 or bfloat16, values for
// each channel float32 [channels]. All of it lies on the device, aligned as the grid's vector wants it.
#pragma once

#include "ekd/kernels/host_device.h"
#include "kernels/bn_relu/bn_relu_grid.h"

namespace ekd {

struct BnReluForwardTask {
  BnReluGrid grid;
  bool bf16;
  const void *x, *residual;  // residual may be null
  void* y;
  const float *weight, *bias;
  double eps, momentum;
  float *running_mean, *running_var;  // inference only reads them
  float *mean, *invstd;               // of the batch; null in inference
  float *scale, *shift;               // scratch
  float* partials;                    // scratch, [blocks, 2, channels]; null in inference
};

struct BnReluBackwardTask {
  BnReluGrid grid;
  bool bf16;
  const void *grad, *x, *y;  // y: the forward's result where it had a residual, else null
  void *grad_x, *masked;     // masked: the residual's gradient where there is y, else null
  const float *weight, *bias, *mean, *invstd;
  float *grad_weight, *grad_bias;
  float *scale, *shift, *by_x, *constant;  // scratch
  float* partials;                         // scratch, [blocks, 2, channels]
};

// Each returns a cudaError_t; 0 is success. Nothing waits for the device.
int launch_bn_relu_forward(const BnReluForwardTask& task, CudaStream stream);
int launch_bn_relu_inference(const BnReluForwardTask& task, CudaStream stream);
int launch_bn_relu_backward(const BnReluBackwardTask& task, CudaStream stream);

}  // namespace ekd

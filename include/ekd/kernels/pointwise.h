// Grouped 1×1 convolutions, in bfloat16 on CPUs with AVX-512 BF16 and in float32 on CPUs with AVX2: a matrix product
// for each group over the tensor as it lies, where LibTorch's backward runs several times off the arithmetic limit.
#pragma once

#include <ATen/core/Tensor.h>

namespace ekd {

// Whether the kernels take x [N, C, H, W], in channels_last layout, and a weight [out, C / groups, 1, 1]: bfloat16 with
// an even number of channels in and out of each group on a CPU that has the instructions (ATEN_CPU_CAPABILITY can hide
// them), float32 where LibTorch's own kernels are AVX2 ones.
bool pointwise_takes(const at::Tensor& x, const at::Tensor& weight, std::int64_t groups);

// weight: float32, rounded to x's numbers for the product; sums are float32. Returns [N, out, H, W] like x.
at::Tensor pointwise_forward(const at::Tensor& x, const at::Tensor& weight, std::int64_t groups);

struct PointwiseGradients {
  at::Tensor x;       // undefined where it was not asked for
  at::Tensor weight;  // float32
};

// grad like the forward's result. Sums are taken in an order that depends on the shape only: the same bits for any
// number of threads.
PointwiseGradients pointwise_backward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                                      std::int64_t groups, bool wants_x);

}  // namespace ekd

// The fused kernels on a CPU with tiles (core/device.h, cpu_has_tiles): the same operations and sums as on a GPU
// (conv.h, depthwise.h, join.h, parameters.h), an image at a time, which stays in a core's cache from its reading to
// the writing of its result.
#pragma once

#include <cstdint>

#include "kernels/fused/depthwise.h"
#include "kernels/fused/join.h"
#include "kernels/fused/parameters.h"

namespace ekd {

// A convolution, 1×1 or 3×3, padded by kernel / 2.
struct CpuConv {
  std::int64_t images, height, width;  // of what it reads
  std::int64_t out_height, out_width;  // of its result
  std::int64_t groups, in, out;        // channels of a group
  std::int64_t kernel, stride;
  const Bf16* weight;  // [groups · out, kernel, kernel, in]
};

// y = the convolution of `input` + added; moments of y are added up. added and moments may be null.
void cpu_conv(const CpuConv& conv, const Operand& input, const Bf16* added, Bf16* y, Fixed* moments);

// Gradients by the weight, to `sums`, and by the input, to `grad_x`: behind ReLU's mask where `read` has a norm, whose
// slopes are then added up, else with `added`. sums, grad_x, added and slopes may be null.
struct CpuConvGradients {
  Operand grad, read;
  Fixed *sums, *bad;
  Bf16* grad_x;
  const Bf16* added;
  Fixed* slopes;
};
void cpu_conv_gradients(const CpuConv& conv, const CpuConvGradients& task);

void run_on_cpu(const DepthwiseTask& task);
void run_on_cpu(const JoinTask& task);
void run_on_cpu(const PoolTask& task);
void run_on_cpu(const RoundTask& task);
void run_on_cpu(const GradientTask& task);
void run_on_cpu(const RunningTask& task);
void run_on_cpu(const NormTable& norms);
void run_on_cpu(const TermsTask& task);

}  // namespace ekd

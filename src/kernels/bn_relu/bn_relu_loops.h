// The inner loops of batch normalisation with ReLU, over raw memory: one table of functions for each instruction set,
// compiled from one source (src/kernels/simd/bn_relu_loops.cpp).
//
// A tensor [N, C, H, W] in channels_last layout is read as rows of `period` numbers, a multiple of both C and the
// vector length, so that no vector crosses a row: whatever belongs to a channel is given as `period` floats, repeated.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>

namespace ekd {

// Every period is a multiple of this: one vector of bf16 of the widest instruction set.
constexpr std::int64_t kBnReluColumns = 32;

// `count` numbers from the beginning of a row on; the last row may be cut short.
struct BnReluSpan {
  std::int64_t count, period;
};

// y = max(x · scale + shift, 0).
struct ScaleShift {
  const float *scale, *shift;
};

// Gradient by x = masked gradient by y · grad + x · x + constant.
struct BnReluInputGradient {
  const float *grad, *x, *constant;
};

// T is float or c10::BFloat16; sums are floats and are added to what is there. `streams`: results go past the caches,
// for which they begin at multiples of 64 bytes.
template <class T>
struct BnReluLoops {
  // sum += x - origin and square += (x - origin)², down each column.
  void (*moments)(const T* x, BnReluSpan span, const float* origin, float* sum, float* square);

  // y = max(x · scale + shift + residual, 0); residual may be null, y may be x.
  void (*forward)(const T* x, const T* residual, BnReluSpan span, ScaleShift affine, T* y, bool streams);

  // g = grad where the forward's result was above 0, else 0; sum += g and product += g · (x - origin). The result is
  // read from `y`, and g written to `masked`; where y is null, it is computed again from x and g is not written.
  void (*backward_sums)(const T* grad, const T* x, const T* y, BnReluSpan span, ScaleShift affine, const float* origin,
                        T* masked, bool streams, float* sum, float* product);

  // The gradient by x; grad_x may be grad. Unless `masked`, grad is masked by the forward's result, computed from x.
  void (*backward_input)(const T* grad, bool masked, const T* x, BnReluSpan span, ScaleShift affine,
                         BnReluInputGradient gradient, T* grad_x, bool streams);
};

struct BnReluTable {
  BnReluLoops<float> fp32;
  BnReluLoops<c10::BFloat16> bf16;
};

extern const BnReluTable kBnReluPlain;
#ifdef EKD_X86_KERNELS
extern const BnReluTable kBnReluAvx2;
extern const BnReluTable kBnReluAvx512;
#endif

}  // namespace ekd

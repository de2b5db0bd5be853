// The arithmetic of batch normalisation with ReLU for one number and for one channel, the same on the CPU and on CUDA.
// (The CPU's loops over numbers are written in vectors, simd/bn_relu_loops.cpp; tests hold the two together.)
#pragma once

#include <cmath>

#include "ekd/kernels/host_device.h"

namespace ekd {

// Normalisation of one channel: x · scale + shift.
struct BnAffine {
  float scale, shift;
};
EKD_HOST_DEVICE inline BnAffine channel_affine(float weight, float bias, float mean, float invstd) {
  const float scale = weight * invstd;
  return {scale, bias - mean * scale};
}

EKD_HOST_DEVICE inline float bn_normalised(float x, BnAffine affine) { return fmaf(x, affine.scale, affine.shift); }
// max(value, 0); NaN stays NaN, so that a broken training is noticed.
EKD_HOST_DEVICE inline float rectified(float value) { return value < 0 ? 0 : value; }
// ReLU's gradient, by its result.
EKD_HOST_DEVICE inline float relu_masked(float result, float grad) { return result > 0 ? grad : 0; }

// Gradient by x = masked gradient by y · scale + x · by_x + constant.
struct ChannelGradient {
  float by_x, constant;
};
EKD_HOST_DEVICE inline float bn_input_gradient(float grad, float x, float scale, ChannelGradient gradient) {
  return fmaf(grad, scale, fmaf(x, gradient.by_x, gradient.constant));
}

// A batch's mean and biased variance from the sums of (x - origin) and (x - origin)² over n numbers.
struct ChannelMoments {
  double mean, var;
};
EKD_HOST_DEVICE inline ChannelMoments channel_moments(double origin, double sum, double square, double n) {
  const double moved = sum / n, var = square / n - moved * moved;
  return {origin + moved, var < 0 ? 0 : var};
}
EKD_HOST_DEVICE inline float channel_invstd(double var, double eps) { return static_cast<float>(1 / sqrt(var + eps)); }

// A running statistic after a batch; the variance's is moved towards the unbiased one.
EKD_HOST_DEVICE inline float moved_running(float running, double momentum, double batch) {
  return static_cast<float>((1 - momentum) * running + momentum * batch);
}
EKD_HOST_DEVICE inline double unbiased_variance(double var, double n) { return n > 1 ? var * n / (n - 1) : var; }

// From the sums of the masked gradient and of masked gradient · (x - mean).
struct ChannelBackward {
  float grad_weight, grad_bias;
  ChannelGradient gradient;
};
EKD_HOST_DEVICE inline ChannelBackward channel_backward(double sum, double product, float scale, float mean,
                                                        float invstd, double n) {
  const double by_x = -scale * (static_cast<double>(invstd) * invstd) * product / n;
  const double constant = -scale * sum / n - by_x * mean;
  return {static_cast<float>(product * invstd), static_cast<float>(sum),
          ChannelGradient{static_cast<float>(by_x), static_cast<float>(constant)}};
}

}  // namespace ekd

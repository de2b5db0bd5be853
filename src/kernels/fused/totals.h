// Sums over a batch in fixed point: blocks add theirs with integer atomics, whose result does not depend on their
// order, so the bits are the same at every run, and the reader needs no pass that totals partial sums. What belongs to
// a channel (scale, shift, gradients) is computed from the totals by every kernel that reads them.
#pragma once

#include <cmath>

#include "ekd/kernels/host_device.h"
#include "kernels/bn_relu/bn_relu_element.h"

namespace ekd {

using Fixed = long long;

// Sums of values and squares: a step of 2⁻²² is 10⁻⁹ of a mean over 64 numbers, far below what batch norm's eps hides;
// the range ends at a root mean square of about 4,000 for 131,072 numbers.
constexpr float kMomentsOne = 4194304.0f;
// Sums of gradients: a step of 2⁻³⁴, 5·10⁸ at most, and 131,072 of one block: a training that is about to diverge may
// still recover.
constexpr float kGradientOne = 17179869184.0f;
// What one block may add: 2⁵¹ steps. More, or no number, is counted as bad and makes the result NaN, so that a broken
// training is noticed.
constexpr float kMostFixed = 2251799813685248.0f;

// Rows of a batch's moments, Fixed [kMomentRows, channels], and of their gradients' sums, [kSlopeRows, channels].
enum MomentRow { kMomentSum, kMomentSquare, kMomentBad };
constexpr int kMomentRows = 3;
enum SlopeRow { kSlopeSum, kSlopeProduct, kSlopeBad };
constexpr int kSlopeRows = 3;

// Adds value to *to, or 1 to *bad.
EKD_TEAM_TEMPLATE
template <class Block>
EKD_HOST_DEVICE inline void add_fixed(Block& block, float value, float one, Fixed* to, Fixed* bad) {
  const float steps = value * one;  // exact: a power of two
  if (fabsf(steps) < kMostFixed)
    block.add(to, llrintf(steps));
  else
    block.add(bad, 1);
}

// A batch normalisation as its readers see it; channels in the order of its parameters.
struct Norm {
  int channels;
  const Fixed* moments;  // of the batch; null: the running statistics count
  const Fixed* slopes;   // what backward has summed up: of g and g · (x - mean), g the gradient behind the ReLU's mask
  const float *weight, *bias, *running_mean, *running_var;
  float eps;
  float share;  // 1 / how many numbers of the batch a channel has

  EKD_HOST_DEVICE bool is_there() const { return weight != nullptr; }
};

struct NormChannel {
  float scale, shift, mean, invstd;
};

// 1 / √x to float's precision, without the slow paths of division and root.
EKD_HOST_DEVICE inline float inverse_root(float x) {
#ifdef __CUDA_ARCH__
  const float estimate = rsqrtf(x);
  return estimate * fmaf(-0.5f * x * estimate, estimate, 1.5f);
#else
  return 1 / sqrtf(x);
#endif
}

// Sums in fixed point · scale, as a float; in double where two of them are to be subtracted.
EKD_HOST_DEVICE inline double from_fixed(Fixed sum, float one, float share) {
  return static_cast<double>(sum) * (1.0 / one) * share;
}

EKD_HOST_DEVICE inline NormChannel norm_channel(const Norm& norm, int c) {
  float mean, var;
  if (norm.moments) {
    const double first = from_fixed(norm.moments[kMomentSum * norm.channels + c], kMomentsOne, norm.share);
    const double second = from_fixed(norm.moments[kMomentSquare * norm.channels + c], kMomentsOne, norm.share);
    mean = norm.moments[kMomentBad * norm.channels + c] != 0 ? NAN : static_cast<float>(first);
    var = static_cast<float>(second - first * first);
    if (var < 0) var = 0;
  } else {
    mean = norm.running_mean[c];
    var = norm.running_var[c];
  }
  const float invstd = inverse_root(var + norm.eps);
  const BnAffine affine = channel_affine(norm.weight[c], norm.bias[c], mean, invstd);
  return {affine.scale, affine.shift, mean, invstd};
}

// From the masked gradient g and x to the gradient by x: g · scale + x · by_x + constant.
struct NormSlope {
  float scale, by_x, constant;
  float grad_weight, grad_bias;
};

EKD_HOST_DEVICE inline NormSlope norm_slope(const Norm& norm, int c) {
  const NormChannel channel = norm_channel(norm, c);
  float sum = static_cast<float>(from_fixed(norm.slopes[kSlopeSum * norm.channels + c], kGradientOne, 1));
  const float product = static_cast<float>(from_fixed(norm.slopes[kSlopeProduct * norm.channels + c], kGradientOne, 1));
  if (norm.slopes[kSlopeBad * norm.channels + c] != 0) sum = NAN;
  const float by_x = -channel.scale * channel.invstd * channel.invstd * product * norm.share;
  return {channel.scale, by_x, -channel.scale * sum * norm.share - by_x * channel.mean, product * channel.invstd, sum};
}

}  // namespace ekd

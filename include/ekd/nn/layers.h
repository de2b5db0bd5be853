// The layers that the networks are made of. Each registers its tensors under the names of the field's public
// checkpoints.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ekd/kernels/bn_relu.h"
#include "ekd/nn/fused_pass.h"
#include "ekd/nn/scope.h"

namespace ekd {

// How a convolution's weights start.
enum class ConvStart {
  kFanOutNormal,  // N(0, 2 / (kernel² · out)): He et al., 2015
  kFanInUniform,  // uniform in ±1/√(kernel² · in / groups): PyTorch's default
};

struct ConvShape {
  std::int64_t in = 0, out = 0;
  std::int64_t kernel = 1;  // odd; padded so that stride 1 keeps the size
  std::int64_t stride = 1;
  std::int64_t groups = 1;
  bool bias = false;  // starts at 0; only where batch norm follows
};

class BatchNorm;

// "weight" [out, in / groups, kernel, kernel] and, where it has one, "bias" [out].
class Conv2d {
 public:
  Conv2d(const Scope& scope, const ConvShape& shape, ConvStart start);

  Activation operator()(const Activation& x) const;

  // The convolution + residual, which has its shape. With gradients off the sum may be written over a residual that is
  // moved here and that nobody else holds.
  Activation plus(Activation residual, const Activation& x) const;

  // bn.relu of the convolution; in evaluation one kernel where there is one. This and `between` take a convolution with
  // a bias, the others do not.
  Activation then(const BatchNorm& bn, const Activation& x, bool training) const;

  // after.relu of the convolution of before.relu; in evaluation one kernel where there is one.
  Activation between(const BatchNorm& before, const BatchNorm& after, const Activation& x, bool training) const;

 private:
  Activation without_bias(const Activation& x) const;
  void require_no_bias() const;

  ConvShape shape_;
  at::Tensor weight_, bias_;
};

// Batch normalisation (Ioffe and Szegedy, 2015; eps 1e-5, momentum .1), alone or together with what mostly follows it:
// an addition or none, then ReLU, in one kernel (kernels/bn_relu.h).
class BatchNorm {
 public:
  BatchNorm(const Scope& scope, std::int64_t channels);

  // max(normalised x + residual, 0); x [N, channels, H, W], residual undefined or of x's shape and dtype. `training`:
  // by batch statistics, moving the running ones; otherwise by the running ones.
  Activation relu(const Activation& x, bool training, const at::Tensor& residual = {}) const;
  // x is read by nobody else.
  Activation relu(Activation&& x, bool training, const at::Tensor& residual = {}) const;

  // relu of x + bias, float32 [channels]. By batch statistics a bias moves the running mean and nothing else, so that
  // nobody adds it; its gradient is 0.
  Activation relu_of_biased(const Activation& x, const at::Tensor& bias, bool training) const;

  // Normalised x, with nothing behind it.
  Activation operator()(const Activation& x, bool training) const;

  const BnParameters& parameters() const { return parameters_; }
  // Of x without its bias, where x has one.
  BnRunning running(const at::Tensor& bias = {}) const;

 private:
  BnParameters parameters_;
  Activation relu(const Activation& x, bool training, const at::Tensor& residual, bool sole) const;

  BnRunning running_;
};

// How a fully connected layer starts.
enum class LinearStart {
  kUniform,   // both uniform in ±1/√in: PyTorch's default
  kZeroBias,  // the same, the bias 0
  kNormal,    // N(0, .01²), the bias 0
};

// "weight" [out, in] and "bias" [out].
class Linear {
 public:
  Linear(const Scope& scope, std::int64_t in, std::int64_t out, LinearStart start);

  at::Tensor operator()(const at::Tensor& x) const;

 private:
  at::Tensor weight_, bias_;
};

// The sum; where the kernels have left something of either undone, it is done first.
Activation plus(const Activation& a, const Activation& b);

// 2×2 with stride 2; the result lies channels_last.
Activation max_pool(const Activation& x);

// Reads the channels as [groups, C / groups] and writes them as [C / groups, groups]; the result lies channels_last.
// Zhang et al., "ShuffleNet", CVPR 2018, §3.1.
Activation shuffle_channels(const Activation& x, std::int64_t groups);

// The channels of x, then those of `shortcut` averaged 3×3 with stride 2, padded by 1: ShuffleNet's shortcut past a
// block that halves the image.
Activation append_pooled(const Activation& x, const at::Tensor& shortcut);

}  // namespace ekd

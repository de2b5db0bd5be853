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
};

class BatchNorm;

// A convolution without bias: "weight" [out, in / groups, kernel, kernel].
class Conv2d {
 public:
  Conv2d(const Scope& scope, const ConvShape& shape, ConvStart start);

  Activation operator()(const Activation& x) const;

  // The convolution + residual, which has its shape. With gradients off the sum may be written over a residual that is
  // moved here and that nobody else holds.
  Activation plus(Activation residual, const Activation& x) const;

  // bn.relu of the convolution; in evaluation one kernel where there is one.
  Activation then(const BatchNorm& bn, const Activation& x, bool training) const;

  // after.relu of the convolution of before.relu; in evaluation one kernel where there is one.
  Activation between(const BatchNorm& before, const BatchNorm& after, const Activation& x, bool training) const;

 private:
  ConvShape shape_;
  at::Tensor weight_;
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

  // Normalised x, with nothing behind it.
  Activation operator()(const Activation& x, bool training) const;

  const BnParameters& parameters() const { return parameters_; }
  const BnRunning& running() const { return running_; }

 private:
  BnParameters parameters_;
  Activation relu(const Activation& x, bool training, const at::Tensor& residual, bool sole) const;

  BnRunning running_;
};

// How a fully connected layer's bias starts; its weights always are uniform in ±1/√in.
enum class BiasStart { kZero, kUniform };

// "weight" [out, in] and "bias" [out].
class Linear {
 public:
  Linear(const Scope& scope, std::int64_t in, std::int64_t out, BiasStart start);

  at::Tensor operator()(const at::Tensor& x) const;

 private:
  at::Tensor weight_, bias_;
};

// Reads the channels as [groups, C / groups] and writes them as [C / groups, groups]; the result lies channels_last.
// Zhang et al., "ShuffleNet", CVPR 2018, §3.1.
Activation shuffle_channels(const Activation& x, std::int64_t groups);

// The channels of x, then those of `shortcut` averaged 3×3 with stride 2, padded by 1: ShuffleNet's shortcut past a
// block that halves the image.
Activation append_pooled(const Activation& x, const at::Tensor& shortcut);

}  // namespace ekd

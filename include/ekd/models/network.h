// What the networks of this folder are made of: tensors by state-dict name, registered by the layers as they are built.
// Plain structs over at::Tensor instead of torch::nn modules: they compile in a quarter of the time, batch norm has one
// home that a fused kernel can take over, and the batch counters of all layers advance in one call.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "ekd/models/classifier.h"

namespace ekd {

class Activation;

// In definition order; the layers hold handles to the same tensors.
struct NetworkState {
  std::vector<NamedTensor> parameters;
  std::vector<NamedTensor> buffers;
  std::vector<at::Tensor> batch_counters;  // the `num_batches_tracked` among the buffers
};

// A place in the tree of names. Layers register their tensors through it and start them from its generator.
class Scope {
 public:
  Scope(NetworkState& state, at::Generator generator, std::string prefix = {});

  // "block1" / "layer" gives "block1.layer".
  Scope operator/(const std::string& name) const;

  // Float32 leaves that require a gradient; four-dimensional ones lie channels_last.
  at::Tensor normal_parameter(const std::string& name, at::IntArrayRef shape, double std) const;
  at::Tensor uniform_parameter(const std::string& name, at::IntArrayRef shape, double bound) const;  // in ±bound
  at::Tensor constant_parameter(const std::string& name, at::IntArrayRef shape, double value) const;

  at::Tensor buffer(const std::string& name, at::IntArrayRef shape, double value) const;  // float32
  void batch_counter(const std::string& name) const;                                      // int64, 0-dim, 0

 private:
  at::Tensor add_parameter(const std::string& name, const at::Tensor& start) const;

  NetworkState& state_;
  at::Generator generator_;
  std::string prefix_;
};

// A network adds its layers and `run`.
class Network : public Classifier {
 public:
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  // Any image size that the strides leave something of; images in any memory layout, computed in channels_last.
  Outputs forward(const at::Tensor& images) final;
  std::vector<NamedTensor> parameters() const final { return state_.parameters; }
  std::vector<NamedTensor> buffers() const final { return state_.buffers; }
  void set_training(bool training) final { training_ = training; }
  void to(at::Device device) final;

 protected:
  // Throws UsageError where the spec has no class or no channel.
  Network(ModelSpec spec, std::uint64_t seed);

  const Scope& root() const { return root_; }

  // images are channels_last.
  virtual Outputs run(const Activation& images, bool training) const = 0;

 private:
  NetworkState state_;
  at::Tensor flat_;  // float32: the parameters one after another, for the fused kernels; else undefined
  Scope root_;
  bool training_ = true;
};

}  // namespace ekd

// What layers are made of: tensors by state-dict name, registered as the layers are built. Plain structs over
// at::Tensor instead of torch::nn modules: they compile in a quarter of the time, batch norm has one home that a fused
// kernel can take over, and the batch counters of all layers advance in one call.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

#include "ekd/core/types.h"

namespace ekd {

// In definition order; the layers hold handles to the same tensors.
struct NetworkState {
  std::vector<NamedTensor> parameters;
  std::vector<NamedTensor> buffers;
  std::vector<at::Tensor> batch_counters;  // the `num_batches_tracked` among the buffers
};

// A place in the tree of names. Layers register their tensors through it and start them from its generator; without one
// they have shapes only (on the device "meta").
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

}  // namespace ekd

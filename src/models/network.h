// What the networks of this folder have in common.
#pragma once

#include <optional>
#include <utility>
#include <vector>

#include "ekd/models/classifier.h"
#include "ekd/nn/fused_pass.h"
#include "ekd/nn/scope.h"

namespace ekd {

// Blocks one after another. A block is called with an activation, which it gets by move, and with `training`.
template <class Block>
struct Stage {
  Activation operator()(Activation x, bool training) const {
    for (const auto& block : blocks) x = block(std::move(x), training);
    return x;
  }

  std::vector<Block> blocks;
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
  Network(ModelSpec spec, std::optional<std::uint64_t> seed);

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

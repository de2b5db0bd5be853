// A network as the other rooms see it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ekd/core/types.h"

namespace ekd {

// What a network is built for; channels and classes are properties of the data.
struct ModelSpec {
  std::string name;
  std::int64_t classes = 100;
  std::int64_t channels = 3;
};

class Classifier {
 public:
  virtual ~Classifier() = default;

  // images: float [N, channels, H, W], normalised. Differentiable unless a NoGradGuard is on.
  virtual Outputs forward(const at::Tensor& images) = 0;

  // Outputs of `forward` in evaluation mode, to which a network whose stages end before their activation adds them as
  // the normalisation behind leaves them: "STAGE.preactivation", where ReLU comes next.
  virtual Outputs with_preactivations(Outputs outputs) const { return outputs; }

  // The live tensors by state-dict name, in definition order. Parameters are leaves that require a gradient.
  virtual std::vector<NamedTensor> parameters() const = 0;
  virtual std::vector<NamedTensor> buffers() const = 0;

  // Batch norm by batch statistics (training) or by running ones (evaluation).
  virtual void set_training(bool training) = 0;

  // Moves parameters and buffers; four-dimensional parameters are kept channels_last. Call before making momentum
  // buffers.
  virtual void to(at::Device device) = 0;

  const ModelSpec& spec() const { return spec_; }

 protected:
  explicit Classifier(ModelSpec spec) : spec_(std::move(spec)) {}

 private:
  ModelSpec spec_;
};

// Parameters, then buffers: what a weights file holds.
inline std::vector<NamedTensor> model_state(const Classifier& model) {
  std::vector<NamedTensor> state = model.parameters();
  for (auto& buffer : model.buffers()) state.push_back(std::move(buffer));
  return state;
}

inline std::int64_t parameter_count(const Classifier& model) {
  std::int64_t count = 0;
  for (const auto& [name, tensor] : model.parameters()) count += tensor.numel();
  return count;
}

}  // namespace ekd

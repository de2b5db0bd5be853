// Stochastic gradient descent with momentum and weight decay as one fused call per step.
#pragma once

#include <cstdint>
#include <vector>

#include "ekd/core/types.h"
#include "ekd/settings/training.h"

namespace ekd {

// Where the learning rate lives. kTensor: on the parameters' device, as float32, for steps that a CUDA graph replays: a
// graph keeps every number of the host as it was when it was recorded.
enum class RateIn { kHost, kTensor };

// PyTorch's definition: g += weight_decay · p; buf = momentum · buf + g; p -= lr · (nesterov ? g + momentum · buf :
// buf).
class Sgd {
 public:
  // `parameters` are the model's live leaves, in their final layout and on their final device.
  Sgd(const std::vector<NamedTensor>& parameters, const OptimConfig& config, RateIn rate_in = RateIn::kHost);

  // For the steps to come. Comes before the first.
  void set_rate(double lr);

  // Applies the gradients that backward left, then drops them.
  void step();

  // Forgets gradients that no step applied.
  void drop_gradients();

  // The momentum buffers by parameter name; none where momentum is 0.
  std::vector<NamedTensor> state() const;

 private:
  std::vector<at::Tensor> gradients() const;
  // Where the gradients lie in a buffer of their own as the parameters in theirs: that buffer, with all of them.
  at::Tensor gradient_buffer() const;

  std::vector<std::string> names_;
  std::vector<at::Tensor> parameters_, momenta_;
  at::Tensor buffer_, momentum_buffer_;  // defined where all parameters lie in one, and one kernel makes the step
  double momentum_, weight_decay_;
  bool nesterov_;
  double rate_ = 0;
  at::Tensor rate_tensor_;  // 0-dim; undefined where the rate lives on the host
};

}  // namespace ekd

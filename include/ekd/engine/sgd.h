// Stochastic gradient descent with momentum and weight decay as one fused call per step.
#pragma once

#include <cstdint>
#include <vector>

#include "ekd/core/config.h"
#include "ekd/core/types.h"

namespace ekd {

// PyTorch's definition: g += weight_decay · p; buf = momentum · buf + g; p -= lr · (nesterov ? g + momentum · buf :
// buf).
class Sgd {
 public:
  // `parameters` are the model's live leaves, in their final layout and on their final device.
  Sgd(const std::vector<NamedTensor>& parameters, const OptimConfig& config);

  // Applies the gradients that backward left, then drops them.
  void step(double lr);

  // The momentum buffers by parameter name; none where momentum is 0.
  std::vector<NamedTensor> state() const;

 private:
  std::vector<std::string> names_;
  std::vector<at::Tensor> parameters_, momenta_;
  double momentum_, weight_decay_;
  bool nesterov_;
};

}  // namespace ekd

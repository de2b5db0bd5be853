// Stochastic gradient descent and AdamW, each as one fused call per step, and the clipping of gradients before it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ekd/core/types.h"
#include "ekd/settings/training.h"

namespace ekd {

// Where the learning rate lives. kTensor: on the parameters' device, as float32, for steps that a CUDA graph replays: a
// graph keeps every number of the host as it was when it was recorded.
enum class RateIn { kHost, kTensor };

class UpdateRule;

// OptimConfig::name says which rule moves a parameter p by its gradient g; both are PyTorch's definitions.
//   sgd    g += weight_decay · p; m = momentum · m + g; p -= lr · (nesterov ? g + momentum · m : m)
//   adamw  p -= lr · weight_decay · p; m += (1 − beta1) · (g − m); v += (1 − beta2) · (g² − v);
//          p -= lr · (m / (1 − beta1^t)) / (√(v / (1 − beta2^t)) + eps), in the t-th step from 1
//          Loshchilov and Hutter, "Decoupled weight decay regularization", ICLR 2019
// Weight decay is on every parameter.
class Optimizer {
 public:
  // `parameters` are the model's live leaves, in their final layout and on their final device.
  Optimizer(const std::vector<NamedTensor>& parameters, const OptimConfig& config, RateIn rate_in = RateIn::kHost);
  ~Optimizer();
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // For the steps to come. Comes before the first.
  void set_rate(double lr);

  // Applies the gradients that backward left, then drops them. Where clip_norm is above 0, all gradients are first
  // multiplied by min(1, clip_norm / (‖g‖ + 1e-6)), g being all of them as one vector, which is PyTorch's
  // clip_grad_norm_ (Pascanu et al., "On the difficulty of training recurrent neural networks", ICML 2013); returns
  // ‖g‖, 0-dim float32 on the device, else an undefined tensor. The host does not wait for the device, and all that
  // changes from step to step lives there: a CUDA graph may replay it.
  at::Tensor step();

  // Forgets gradients that no step applied.
  void drop_gradients();

  // What a checkpoint holds. sgd: m by parameter name, none where momentum is 0; adamw: m as "exp_avg.NAME", v as
  // "exp_avg_sq.NAME", and t as "steps".
  std::vector<NamedTensor> state() const;

 private:
  std::vector<at::Tensor> gradients() const;
  // Where the gradients lie in a buffer of their own as the parameters in theirs: that buffer, with all of them.
  at::Tensor gradient_buffer() const;

  std::vector<std::string> names_;
  std::vector<at::Tensor> parameters_;
  at::Tensor buffer_;  // defined where all parameters lie in one, and one kernel makes the step
  double clip_norm_;
  double rate_ = 0;
  at::Tensor rate_tensor_;  // 0-dim; undefined where the rate lives on the host
  std::unique_ptr<UpdateRule> rule_;
};

}  // namespace ekd

// A network's forward pass by the fused kernels (kernels/fused.h), and its backward: a normalisation with
// ReLU is not done but noted, and whoever reads the tensor next does it on the way in. Layers see this as an
// Activation; networks need not know of it.
//
// Gradients follow the same path back. A reader of max(norm(z), 0) returns the gradient by z *behind ReLU's mask*, and
// takes the sums that the normalisation's own gradient needs; the maker of z, which alone receives it, completes it as
// it reads it. So z must have no other readers: a tensor that has them (a residual) passes through a node of its own.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/core/ivalue.h>

#include <memory>
#include <unordered_map>

#include "ekd/kernels/bn_relu.h"
#include "ekd/kernels/fused.h"

namespace ekd {

struct NetworkState;
class FusedPass;

// A normalisation of a pass, and the moments that it goes by.
struct FusedLink : torch::CustomClassHolder {
  FusedNorm norm;
  bool bound = false;  // a normalisation has taken it, and its readers return masked gradients
};

// What layers hand to each other: a tensor, perhaps with a normalisation and ReLU (and a shuffle of channels) still to
// be done to it.
class Activation {
 public:
  Activation(at::Tensor tensor) : values_(std::move(tensor)) {}  // NOLINT: a tensor is an activation

  // With all that was to be done.
  at::Tensor tensor() const&;
  at::Tensor tensor() &&;  // the only handle, where it was
  operator at::Tensor() const { return tensor(); }

 private:
  friend class FusedPass;
  friend Activation with_pass(at::Tensor tensor, std::shared_ptr<FusedPass> pass);
  friend const std::shared_ptr<FusedPass>& pass_of(const Activation& x);

  at::Tensor values_;
  std::shared_ptr<FusedPass> pass_;     // null: nothing is ever left to do
  c10::intrusive_ptr<FusedLink> link_;  // pending: what is to be done; else the values' moments, or null
  bool pending_ = false;
  std::int64_t shuffle_ = 1;
};

Activation with_pass(at::Tensor tensor, std::shared_ptr<FusedPass> pass);
const std::shared_ptr<FusedPass>& pass_of(const Activation& x);

class FusedPass : public std::enable_shared_from_this<FusedPass> {
 public:
  FusedPass();
  ~FusedPass();

  // For a forward pass; null where the kernels do not take it (they compute in bfloat16, under autocast) or others are
  // faster. `flat` holds the network's parameters.
  static std::shared_ptr<FusedPass> begin(const NetworkState& state, const at::Tensor& flat, bool training);

  // After the forward pass: moves the running statistics.
  void end();

  struct Shape {
    std::int64_t stride = 1, groups = 1;
  };
  static bool takes(const Activation& x, const at::Tensor& weight, const Shape& shape);

  // `weight` is the network's parameter.
  Activation convolution(const Activation& x, const at::Tensor& weight, const Shape& shape,
                         const at::Tensor& added = {});
  // max(norm(x), 0). `sole`: whether x.values_ has no readers but the result's.
  Activation norm_relu(const Activation& x, const BnParameters& parameters, const BnRunning& running, bool sole);
  // max(norm(x) + residual, 0).
  at::Tensor norm_add_relu(const Activation& x, const at::Tensor& residual, const BnParameters& parameters,
                           const BnRunning& running, bool sole);
  // The channels of x, an activation that is pending, then those of the pooled shortcut.
  static bool takes_pooling(const Activation& x, const at::Tensor& shortcut);
  Activation append_pooled(const Activation& x, const at::Tensor& shortcut);
  static bool takes_shuffle(const Activation& x) { return x.pending_ && x.shuffle_ == 1; }
  Activation shuffled(Activation x, std::int64_t groups);
  at::Tensor materialised(const Activation& x);

  // A tensor without anything to be done, for a reader of any kind.
  at::Tensor read(const at::Tensor& values);

 private:
  struct Arena;
  struct Joint;

  c10::intrusive_ptr<FusedLink> make_link(std::int64_t channels) const;
  // Somebody is about to read these values.
  void settle(const at::Tensor& values);
  // The handle through which the next reader of a tensor reads it.
  at::Tensor handed_on(const at::Tensor& values) const;
  at::Tensor join(const Activation& z, const at::Tensor& residual, const at::Tensor& shortcut,
                  const c10::intrusive_ptr<Joint>& joint) const;

  bool training_ = false;
  double momentum_ = 0;
  c10::intrusive_ptr<Arena> arena_;
  // A tensor that a normalisation or a convolution has read, and the handle that it has handed on.
  struct Fork {
    at::Tensor values, other;
  };
  std::unordered_map<const c10::TensorImpl*, Fork> forks_;
  // The end of a block that nobody has read yet.
  struct Joined {
    at::Tensor values, z, residual;
    c10::intrusive_ptr<Joint> joint;
  };
  std::unordered_map<const c10::TensorImpl*, Joined> joints_;
  at::Tensor anchor_;  // ties every operation to the node that hands out the parameters' gradients
};

}  // namespace ekd

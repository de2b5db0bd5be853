// A distillation loss as an object: made from the settings, it sees what student and teachers say about a batch and
// returns named terms. A row in losses/registry.cpp makes it known to the program.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ekd/core/registry.h"
#include "ekd/core/types.h"
#include "ekd/losses/combination.h"
#include "ekd/losses/settings.h"

namespace ekd {

// One batch, the clean views alone: B images.
struct DistillationInput {
  // Logits float32 [B, classes]; features where LossNeeds has them, in the network's precision.
  Outputs student;
  // In the order of the settings, with the features that were asked for; nothing flows back into them.
  std::vector<const Outputs*> teachers;
  at::Tensor targets;  // float32 [B, classes]; rows sum to 1
  at::Tensor labels;   // int64 [B]; what the images showed before mixing
  // 0-dim float32 on the device: the epochs done, with the share of the one under way. Undefined unless LossNeeds has
  // it.
  at::Tensor epoch;
  at::Tensor indices;  // int64 [B]: which training images these are, by their rows in LossContext::labels
};

// A network's feature, of one image.
struct FeatureShape {
  std::string name;
  std::vector<std::int64_t> sizes;  // [C, H, W] or [C]
};

// What a loss may know when it is made.
struct LossContext {
  std::int64_t classes = 0;
  std::uint64_t seed = 0;
  std::vector<FeatureShape> student;                // none unless LossNeeds has features
  std::vector<std::vector<FeatureShape>> teachers;  // likewise, for each teacher
  std::vector<std::string> teacher_names;           // for messages
  at::Tensor labels;                                // int64 [N], of all training images, on the device that trains
  std::vector<double> teacher_weights;              // as given with --teacher, positive; empty: all 1
};

// A step with a loss is recorded as a CUDA graph and replayed, which repeats the numbers that the host knew when it was
// recorded. So a loss sees nothing but tensors, keeps no numbers that change, and takes what changes over the training
// from `epoch`: as part of a value, or as a term's ramp.
class DistillationLoss {
 public:
  virtual ~DistillationLoss() = default;

  // Terms whose weights are relative to each other: --kd-weight multiplies all of them. Differentiable in the student's
  // outputs and the loss's own parameters.
  virtual LossTerms operator()(const DistillationInput& input) const = 0;

  // The features of this teacher, by its index in LossContext::teachers, that the loss looks at.
  virtual std::set<std::string> teacher_features(std::size_t /*teacher*/) const { return {}; }

  // Tensors of its own: parameters are trained with the network's, buffers the loss changes in place. Both are saved in
  // checkpoints and checked for finiteness; a weights file does not hold them.
  const std::vector<NamedTensor>& parameters() const { return parameters_; }
  const std::vector<NamedTensor>& buffers() const { return buffers_; }

  // Moves the parameters and buffers. Call before an optimiser is made.
  void to(at::Device device);

 protected:
  // Constructors call these. A parameter is a leaf that requires a gradient.
  at::Tensor add_parameter(const std::string& name, const at::Tensor& start);
  at::Tensor add_buffer(const std::string& name, const at::Tensor& start);

 private:
  std::vector<NamedTensor> parameters_, buffers_;
};

struct LossNeeds {
  bool features = false;  // the student's, and names and shapes of all networks' features when the loss is made
  bool epoch = false;
};

// What --temperature, --kd-weight and --ce-weight are where they are not given: as published with the loss.
struct LossDefaults {
  double temperature = 50, kd_weight = 0.8, ce_weight = 0.2;
};

struct DistillationLossRow {
  std::string name;
  std::string help;
  std::vector<LossSetting> settings;  // its own: keys distill.NAME
  LossNeeds needs;
  std::unique_ptr<DistillationLoss> (*make)(const DistillConfig& config, const LossContext& context);
  LossDefaults defaults = {};
  Combining combining = Combining::kLosses;  // the most that a way to combine teachers may ask of it
};

// For DistillationLossRow::make.
template <class Loss>
std::unique_ptr<DistillationLoss> make_loss(const DistillConfig& config, const LossContext& context) {
  return std::make_unique<Loss>(config, context);
}

// Whether the loss does what the way to combine teachers asks of it.
inline bool goes_with(const DistillationLossRow& loss, const CombinationRow& combination) {
  return loss.combining >= combination.asks;
}

// Throws UsageError where it does not, or where teachers have weights and are weighed anew in each sample.
void check_combination(const DistillationLossRow& loss, const CombinationRow& combination,
                       const std::vector<double>& teacher_weights);

const Registry<DistillationLossRow>& distillation_loss_registry();

// For those who write losses.

// A setting that counts something. Throws UsageError where it is not whole.
std::int64_t whole_setting(const DistillConfig& config, const std::string& name);

// A term's ramp that rises over these epochs, which are counted from 1: min((⌊epoch⌋ + 1) / epochs, 1).
at::Tensor warm_up_ramp(const at::Tensor& epoch, double epochs);

// int64 [B, 1]: the class with the largest target. Mixed images may have two labels of which the pasted one is the
// larger; where they are equally large it is the image's own, as `labels` has it.
at::Tensor dominant_classes(const at::Tensor& targets, const at::Tensor& labels);

// What losses compute in: float32, or float64 where x comes so.
at::Tensor in_float(const at::Tensor& x);

}  // namespace ekd

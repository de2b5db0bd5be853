// What the losses on features share: the choice of features, several teachers, projections and their arithmetic.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "ekd/core/error.h"
#include "ekd/losses/distillation.h"

namespace ekd {

// Which of a network's features a loss looks at, by their shapes: maps are those of [C, H, W], in the network's order;
// `pooled` is the last one of [C].
struct FeatureChoice {
  static constexpr std::int64_t kNoMap = 0, kAllMaps = -1, kLastMap = -2;
  std::int64_t map = kNoMap;  // else one map by its number, from 1
  bool pooled = false;
  bool preactivations = false;  // of the teachers' maps, where a network has them
};

// A loss on features holds the student against each teacher by itself, with projections of its own for each, and adds
// (add-loss) or averages (avg-loss) the terms over the teachers, each times its weight.
class FeatureLoss : public DistillationLoss {
 public:
  LossTerms operator()(const DistillationInput& input) const final;
  std::set<std::string> teacher_features(std::size_t teacher) const final;

 protected:
  // `loss` is the row's name. Throws UsageError where a network lacks what is chosen.
  FeatureLoss(std::string loss, const DistillConfig& config, const LossContext& context, const FeatureChoice& choice);

  // The terms of one teacher, by its index; the same names and weights for all. Features as chosen, maps before the
  // pooled one, [B, C, H, W] and [B, C]: in float32, or float64 where they come so.
  virtual LossTerms against(std::size_t teacher, const std::vector<at::Tensor>& student,
                            const std::vector<at::Tensor>& theirs, const DistillationInput& input) const = 0;

  std::size_t teachers() const { return teachers_.size(); }
  const std::vector<FeatureShape>& student_shapes() const { return student_; }
  const std::vector<FeatureShape>& teacher_shapes(std::size_t teacher) const { return teachers_.at(teacher); }
  UsageError refusal(std::size_t teacher, const std::string& what) const;

  // "TEACHER.NAME": what a teacher's parameters and buffers are called.
  static std::string own_name(std::size_t teacher, const std::string& name);

  // A parameter of a teacher's that starts uniform in ±bound, drawn from the run's seed, or constant.
  at::Tensor uniform_parameter(std::size_t teacher, const std::string& name, at::IntArrayRef sizes, double bound);
  at::Tensor constant_parameter(std::size_t teacher, const std::string& name, at::IntArrayRef sizes, double value);
  at::Tensor uniform_buffer(std::size_t teacher, const std::string& name, at::IntArrayRef sizes, double bound);

  // A fully connected layer, "NAME.linear.weight" [out, in] and ".bias", as PyTorch starts it.
  struct Embedding {
    at::Tensor weight, bias;
    at::Tensor operator()(const at::Tensor& x) const;
  };
  Embedding embedding(std::size_t teacher, const std::string& name, std::int64_t in, std::int64_t out);

  // Batch normalisation by batch statistics (eps 1e-5), "NAME.weight" and ".bias"; running ones would be read by
  // nobody.
  struct BatchStandardisation {
    at::Tensor weight, bias;
    at::Tensor operator()(const at::Tensor& x) const;
  };
  BatchStandardisation standardisation(std::size_t teacher, const std::string& name, std::int64_t channels);

 private:
  std::string loss_;
  std::vector<double> weights_;
  std::vector<FeatureShape> student_;
  std::vector<std::vector<FeatureShape>> teachers_;
  std::vector<std::string> names_;
  at::Generator generator_;
};

// x over its Euclidean length along `dim`. What has no length stays 0 and gets no gradient: no direction is better for
// it, and a division by a small number would give it a huge one.
at::Tensor unit_length(const at::Tensor& x, std::int64_t dim);

// Maps [B, C, H, W], averaged to [B, C, height, width].
at::Tensor average_pooled(const at::Tensor& maps, std::int64_t height, std::int64_t width);

}  // namespace ekd

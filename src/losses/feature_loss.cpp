#include "losses/feature_loss.h"

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/adaptive_avg_pool2d.h>
#include <ATen/ops/batch_norm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/linear.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "ekd/core/random.h"

namespace ekd {
namespace {

bool is_preactivation(const FeatureShape& shape) { return shape.name.ends_with(kPreactivation); }

// The features that are chosen of a network; `whose` names it in the error.
std::vector<FeatureShape> chosen(const std::vector<FeatureShape>& shapes, const FeatureChoice& choice,
                                 const std::string& whose) {
  std::vector<FeatureShape> maps, all;
  for (const auto& shape : shapes)
    if (shape.sizes.size() == 3 && !is_preactivation(shape)) maps.push_back(shape);
  if (choice.map != FeatureChoice::kNoMap) {
    if (maps.empty()) throw UsageError(whose + " has no feature maps");
    const auto count = static_cast<std::int64_t>(maps.size());
    if (choice.map > count)
      throw UsageError(whose + " has no stage " + std::to_string(choice.map) + ", but " + std::to_string(count));
    if (choice.map == FeatureChoice::kAllMaps) all = maps;
    if (choice.map == FeatureChoice::kLastMap) all = {maps.back()};
    if (choice.map > 0) all = {maps[choice.map - 1]};
  }
  if (choice.pooled) {
    const auto vectors = [](const FeatureShape& shape) { return shape.sizes.size() == 1; };
    const auto pooled = std::find_if(shapes.rbegin(), shapes.rend(), vectors);
    if (pooled == shapes.rend()) throw UsageError(whose + " has no pooled feature");
    all.push_back(*pooled);
  }
  return all;
}

void take_preactivations(std::vector<FeatureShape>& looked_at, const std::vector<FeatureShape>& shapes) {
  for (auto& shape : looked_at) {
    const auto found = std::ranges::find(shapes, shape.name + std::string(kPreactivation), &FeatureShape::name);
    if (found != shapes.end()) shape = *found;
  }
}

std::vector<at::Tensor> features_of(const Outputs& outputs, const std::vector<FeatureShape>& shapes) {
  std::vector<at::Tensor> features;
  for (const auto& shape : shapes) features.push_back(in_float(outputs.feature(shape.name)));
  return features;
}

}  // namespace

FeatureLoss::FeatureLoss(std::string loss, const DistillConfig& config, const LossContext& context,
                         const FeatureChoice& choice)
    : loss_(std::move(loss)),
      weights_(context.teacher_weights),
      names_(context.teacher_names),
      generator_(at::make_generator<at::CPUGeneratorImpl>(
          CountedRandom(static_cast<std::uint32_t>(context.seed), RandomStream::kProjection).bits(0, 0, 0))) {
  weights_.resize(context.teachers.size(), 1);
  if (combination_registry().at(config.kd).averages) {
    const double sum = std::accumulate(weights_.begin(), weights_.end(), 0.0);
    for (double& weight : weights_) weight /= sum;
  }
  student_ = chosen(context.student, choice, "--loss " + loss_ + ": the student");
  for (const auto& shapes : context.teachers) {
    const std::size_t teacher = teachers_.size();
    teachers_.push_back(chosen(shapes, choice, refusal(teacher, "").what()));
    if (teachers_.back().size() != student_.size())
      throw refusal(teacher, " and the student differ in their number of stages");
    if (choice.preactivations) take_preactivations(teachers_.back(), shapes);
  }
}

std::string FeatureLoss::own_name(std::size_t teacher, const std::string& name) {
  return std::to_string(teacher) + "." + name;
}

UsageError FeatureLoss::refusal(std::size_t teacher, const std::string& what) const {
  const std::string name = teacher < names_.size() ? names_[teacher] : std::to_string(teacher);
  return UsageError("--loss " + loss_ + ": the teacher '" + name + "'" + what);
}

std::set<std::string> FeatureLoss::teacher_features(std::size_t teacher) const {
  std::set<std::string> names;
  for (const auto& shape : teachers_.at(teacher)) names.insert(shape.name);
  return names;
}

LossTerms FeatureLoss::operator()(const DistillationInput& input) const {
  TORCH_CHECK(input.teachers.size() == teachers_.size(), "a loss made for ", teachers_.size(), " teachers got ",
              input.teachers.size());
  const std::vector<at::Tensor> student = features_of(input.student, student_);
  LossTerms all;
  for (std::size_t i = 0; i < teachers_.size(); ++i) {
    LossTerms own = against(i, student, features_of(*input.teachers[i], teachers_[i]), input);
    for (std::size_t k = 0; k < own.terms.size(); ++k) {
      LossTerm& term = own.terms[k];
      if (weights_[i] != 1) term.value = term.value * weights_[i];
      if (i > 0) all.terms[k].value = all.terms[k].value + term.value;
    }
    if (i == 0) all = std::move(own);
  }
  return all;
}

at::Tensor FeatureLoss::uniform_parameter(std::size_t teacher, const std::string& name, at::IntArrayRef sizes,
                                          double bound) {
  return add_parameter(own_name(teacher, name), at::empty(sizes, at::kFloat).uniform_(-bound, bound, generator_));
}

at::Tensor FeatureLoss::constant_parameter(std::size_t teacher, const std::string& name, at::IntArrayRef sizes,
                                           double value) {
  return add_parameter(own_name(teacher, name), at::full(sizes, value, at::kFloat));
}

at::Tensor FeatureLoss::uniform_buffer(std::size_t teacher, const std::string& name, at::IntArrayRef sizes,
                                       double bound) {
  return add_buffer(own_name(teacher, name), at::empty(sizes, at::kFloat).uniform_(-bound, bound, generator_));
}

FeatureLoss::Embedding FeatureLoss::embedding(std::size_t teacher, const std::string& name, std::int64_t in,
                                              std::int64_t out) {
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  return {uniform_parameter(teacher, name + ".linear.weight", {out, in}, bound),
          uniform_parameter(teacher, name + ".linear.bias", out, bound)};
}

at::Tensor FeatureLoss::Embedding::operator()(const at::Tensor& x) const { return at::linear(x, weight, bias); }

FeatureLoss::BatchStandardisation FeatureLoss::standardisation(std::size_t teacher, const std::string& name,
                                                               std::int64_t channels) {
  return {constant_parameter(teacher, name + ".weight", channels, 1),
          constant_parameter(teacher, name + ".bias", channels, 0)};
}

at::Tensor FeatureLoss::BatchStandardisation::operator()(const at::Tensor& x) const {
  return at::batch_norm(x, weight, bias, {}, {}, /*training=*/true, /*momentum=*/0, /*eps=*/1e-5,
                        /*cudnn_enabled=*/true);
}

at::Tensor unit_length(const at::Tensor& x, std::int64_t dim) {
  constexpr double kNone = 1e-24;  // the square of a length that counts as none
  const at::Tensor square = x.square().sum(dim, /*keepdim=*/true);
  return x * (square.clamp_min(kNone).rsqrt() * (square > kNone));
}

at::Tensor average_pooled(const at::Tensor& maps, std::int64_t height, std::int64_t width) {
  const std::int64_t rows = maps.size(2), columns = maps.size(3);
  if (rows == height && columns == width) return maps;
  // The usual case as a mean over windows: LibTorch's adaptive pooling has no deterministic gradient on CUDA.
  if (rows % height == 0 && columns % width == 0)
    return maps.unflatten(3, {width, columns / width}).unflatten(2, {height, rows / height}).mean({3, 5});
  return at::adaptive_avg_pool2d(maps, {height, width});
}

}  // namespace ekd

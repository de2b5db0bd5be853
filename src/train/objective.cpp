#include "ekd/train/objective.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include "ekd/losses/classification.h"
#include "ekd/train/checkpoint.h"

namespace ekd {
namespace {

Outputs first_rows(const Outputs& outputs, std::int64_t count) {
  if (outputs.logits.size(0) == count) return outputs;  // not one operation more, nor one for the gradient
  Outputs first{outputs.logits.narrow(0, 0, count), {}};
  for (const auto& [name, tensor] : outputs.features) first.features.push_back({name, tensor.narrow(0, 0, count)});
  return first;
}

}  // namespace

std::vector<FeatureShape> feature_shapes(Classifier& model, const at::Tensor& image) {
  const at::NoGradGuard no_grad;
  model.set_training(false);
  std::vector<FeatureShape> shapes;
  for (const auto& [name, tensor] : model.with_preactivations(model.forward(image)).features)
    shapes.push_back({name, tensor.sizes().slice(1).vec()});
  return shapes;
}

Objective::Objective(double js_weight, const DistillationLossRow& row, const DistillConfig& config,
                     const LossContext& context, std::vector<std::size_t> teachers)
    : js_weight_(js_weight),
      ce_weight_(config.ce_weight),
      kd_weight_(config.kd_weight),
      loss_(row.make(config, context)),
      needs_(row.needs),
      teachers_(std::move(teachers)) {
  for (std::size_t i = 0; i < teachers_.size(); ++i) questions_[teachers_[i]].merge(loss_->teacher_features(i));
}

void Objective::scale_teachers(const std::vector<double>& temperatures) {
  TORCH_CHECK(temperatures.size() == teachers_.size(), "one temperature a teacher");
  temperatures_ = at::tensor(temperatures, at::kFloat);
}

LossTerms Objective::terms(const Batch& batch, const Outputs& outputs, const at::Tensor& epoch) const {
  LossTerms losses;
  const at::Tensor logits = first_rows({outputs.logits, {}}, batch.size()).logits;
  losses.terms.push_back({"ce", soft_cross_entropy(logits, batch.targets, label_smoothing_), 1});
  if (batch.views > 1) losses.terms.push_back({"js", jensen_shannon(outputs.logits, batch.views), js_weight_});
  if (loss_ == nullptr) return losses;
  for (auto& term : losses.terms) term.weight *= ce_weight_;
  DistillationInput input{first_rows(outputs, batch.size()), {}, batch.targets, batch.labels, epoch, batch.indices};
  std::vector<Outputs> scaled;  // the batch's answers are those of other runs, too
  scaled.reserve(teachers_.size());
  for (const std::size_t teacher : teachers_) {
    const Outputs& said = batch.teachers.at(teacher);
    if (temperatures_.defined())
      scaled.push_back({said.logits / temperatures_[static_cast<std::int64_t>(scaled.size())], said.features});
    input.teachers.push_back(temperatures_.defined() ? &scaled.back() : &said);
  }
  for (auto& term : (*loss_)(input).terms) {
    term.weight *= kd_weight_;
    losses.terms.push_back(std::move(term));
  }
  return losses;
}

std::vector<NamedTensor> Objective::parameters() const {
  std::vector<NamedTensor> all;
  if (loss_ != nullptr) append_named(all, "loss.", loss_->parameters());
  return all;
}

std::vector<NamedTensor> Objective::state() const {
  std::vector<NamedTensor> all = parameters();
  if (loss_ != nullptr) append_named(all, "loss.", loss_->buffers());
  if (temperatures_.defined()) all.push_back({"teacher_temperatures", temperatures_});
  return all;
}

void Objective::to(at::Device device) {
  if (loss_ != nullptr) loss_->to(device);
  if (temperatures_.defined()) temperatures_ = temperatures_.to(device);
}

}  // namespace ekd

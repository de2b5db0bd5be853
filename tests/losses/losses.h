// Distillation losses on logits alone, made and asked as the program does.
#pragma once

#include <ATen/ops/full.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/zeros.h>

#include "ekd/losses/combination.h"
#include "ekd/losses/distillation.h"

namespace ekd {

// What a loss is asked about.
struct LossCase {
  at::Tensor student;
  std::vector<at::Tensor> teachers;
  at::Tensor labels = {};                    // undefined: all 0
  double epochs_done = 1e4;                  // all warm-ups are over
  std::vector<double> teacher_weights = {};  // empty: all 1
};

// The loss's own settings and the shared ones as published.
inline DistillConfig published_config(const DistillationLossRow& row, const std::string& combination = "add-loss") {
  DistillConfig config{.kd = combination,
                       .temperature = row.defaults.temperature,
                       .kd_weight = row.defaults.kd_weight,
                       .ce_weight = row.defaults.ce_weight,
                       .loss = row.name};
  for (const auto& setting : row.settings) config.loss_settings[setting.name] = setting.value;
  return config;
}

inline LossTerms loss_terms(const DistillConfig& config, const LossCase& asked) {
  const at::Tensor labels = asked.labels.defined() ? asked.labels : at::zeros({asked.student.size(0)}, at::kLong);
  std::vector<Outputs> outputs;
  for (const auto& logits : asked.teachers) outputs.push_back({logits, {}});
  DistillationInput input{{asked.student, {}},
                          {},
                          at::one_hot(labels, asked.student.size(1)).to(at::kFloat),
                          labels,
                          at::full({}, asked.epochs_done, at::kFloat),
                          {}};
  for (const auto& teacher : outputs) input.teachers.push_back(&teacher);
  LossContext context;
  context.classes = asked.student.size(1);
  context.teacher_weights = asked.teacher_weights;
  return (*distillation_loss_registry().at(config.loss).make(config, context))(input);
}

// The one term of "kd" for teachers that are combined in this way.
inline at::Tensor kd_loss(const std::string& combination, const at::Tensor& student,
                          const std::vector<at::Tensor>& teachers, double temperature) {
  const LossTerms losses = loss_terms({.kd = combination, .temperature = temperature}, {student, teachers});
  TORCH_CHECK(losses.terms.size() == 1 && losses.terms[0].name == "kd" && losses.terms[0].weight == 1 &&
              !losses.terms[0].ramp.defined());
  return losses.terms[0].value;
}

}  // namespace ekd

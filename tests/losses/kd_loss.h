#pragma once

#include "ekd/losses/combination.h"
#include "ekd/losses/distillation.h"

namespace ekd {

// The one term of "kd" for teachers that are combined in this way.
inline at::Tensor kd_loss(const std::string& combination, const at::Tensor& student,
                          const std::vector<at::Tensor>& teachers, double temperature) {
  const DistillationLossRow& row = distillation_loss_registry().at("kd");
  std::vector<Outputs> outputs;
  for (const auto& logits : teachers) outputs.push_back({logits, {}});
  DistillationInput input{{student, {}}, {}, {}, {}, {}, {}};
  for (const auto& teacher : outputs) input.teachers.push_back(&teacher);
  const auto loss = row.make({.kd = combination, .temperature = temperature}, {});
  const LossTerms losses = (*loss)(input);
  TORCH_CHECK(losses.terms.size() == 1 && losses.terms[0].name == "kd" && losses.terms[0].weight == 1 &&
              !losses.terms[0].ramp.defined());
  return losses.terms[0].value;
}

}  // namespace ekd

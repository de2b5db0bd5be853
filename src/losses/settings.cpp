#include "ekd/losses/settings.h"

#include <algorithm>

#include "ekd/losses/combination.h"
#include "ekd/losses/distillation.h"

namespace ekd {

std::vector<LossSetting> distillation_loss_settings() {
  std::vector<LossSetting> all;
  for (const auto& row : distillation_loss_registry().rows())
    for (const auto& setting : row.settings)  // losses of a family share theirs
      if (std::ranges::find(all, setting.name, &LossSetting::name) == all.end()) all.push_back(setting);
  return all;
}

std::vector<Field> distill_fields(DistillConfig& distill, const std::vector<LossSetting>& of_losses) {
  std::vector<Field> fields{
      {"distill.teachers",
       &distill.teachers,
       {},
       "--teacher",
       "[NAME=]RUN_OR_WEIGHTS[@WEIGHT]; repeat for several teachers",
       OnResume::kSameContent},
      {"distill.loss", &distill.loss, one_of(distillation_loss_registry().names()), "--loss",
       "what holds the student against its teachers"},
      {"distill.kd", &distill.kd, one_of(combination_registry().names()), "--kd", "how several teachers combine"},
      {"distill.temperature", &distill.temperature, above(0), "--temperature",
       "of the softened probabilities; --loss has its own default"},
      {"distill.teacher_temperature", &distill.teacher_temperature, one_of_or_between({"none", "fit"}, 1e-6, 1e6),
       "--teacher-temperature",
       "divides the teachers' logits before the loss sees them; fit: each teacher's own, on the validation split"},
      {"distill.kd_weight", &distill.kd_weight, at_least(0), "--kd-weight",
       "weight of the distillation term; --loss has its own default"},
      {"distill.ce_weight", &distill.ce_weight, at_least(0), "--ce-weight",
       "weight of the cross-entropy; --loss has its own default"},
  };
  for (const auto& setting : of_losses) {
    double& value = distill.loss_settings.try_emplace(setting.name, setting.value).first->second;
    fields.push_back({"distill." + setting.name, &value, setting.accepted, "", setting.help});
  }
  return fields;
}

void take_loss_defaults(DistillConfig& distill, const std::set<std::string>& given) {
  const LossDefaults& defaults = distillation_loss_registry().at(distill.loss).defaults;
  const auto take = [&](const char* key, double& value, double own) {
    if (!given.contains(key)) value = own;
  };
  take("distill.temperature", distill.temperature, defaults.temperature);
  take("distill.kd_weight", distill.kd_weight, defaults.kd_weight);
  take("distill.ce_weight", distill.ce_weight, defaults.ce_weight);
}

}  // namespace ekd

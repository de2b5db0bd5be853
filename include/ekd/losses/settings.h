// How a student learns from its teachers.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "ekd/core/field.h"

namespace ekd {

struct DistillConfig {
  std::vector<std::string> teachers;  // [NAME=]RUN_OR_WEIGHTS[@WEIGHT]
  std::string kd = "add-loss";
  double temperature = 50;
  double kd_weight = 0.8;
  double ce_weight = 0.2;
  std::string loss = "kd";
  std::map<std::string, double> loss_settings;  // of the losses, by the key's part after "distill."
  std::string teacher_temperature = "none";     // "none", "fit" or a number
};

// A number that a distillation loss reads from DistillConfig::loss_settings; its key is distill.NAME.
struct LossSetting {
  std::string name;
  double value = 0;  // the default
  Accepted accepted;
  std::string help;
};

// The settings of all rows of the registry of losses.
std::vector<LossSetting> distillation_loss_settings();

// Gives `distill` the defaults of the losses' own settings.
std::vector<Field> distill_fields(DistillConfig& distill,
                                  const std::vector<LossSetting>& of_losses = distillation_loss_settings());

// Gives the settings that all losses share the defaults of the chosen loss, but for the keys that were given.
void take_loss_defaults(DistillConfig& distill, const std::set<std::string>& given);

}  // namespace ekd

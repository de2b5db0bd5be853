// All settings of a training, joined from the rooms', and the defaults of each command.
#pragma once

#include <string>
#include <vector>

#include "ekd/augment/settings.h"
#include "ekd/core/field.h"
#include "ekd/data/settings.h"
#include "ekd/losses/settings.h"
#include "ekd/models/settings.h"
#include "ekd/settings/training.h"

namespace ekd {

enum class Command { kTrainTeacher, kTrainStudent, kDistill };

struct Config {
  DataConfig data;
  ModelConfig model;
  AugmentConfig augment;
  OptimConfig optim;
  DistillConfig distill;
  EvalConfig eval;
  RunConfig run;
};

// The paper's recipe for a command; batch size and rate differ between teachers and students.
Config default_config(Command command);

// "train-teacher", "train-student", "distill"
std::string command_name(Command command);

// The fields of `config` that `command` knows, in the order they are printed. Pointers lead into `config`; an
// assignment to it ends their life.
std::vector<Field> config_fields(Config& config, Command command);

}  // namespace ekd

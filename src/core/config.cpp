#include "ekd/core/config.h"

namespace ekd {

Config default_config(Command command) {
  Config config;
  if (command == Command::kTrainTeacher) return config;
  config.model.name = "shufflenet_v1";
  config.optim.batch_size = 64;
  config.optim.lr = 0.01;
  return config;
}

std::string command_name(Command command) {
  switch (command) {
    case Command::kTrainTeacher:
      return "train-teacher";
    case Command::kTrainStudent:
      return "train-student";
    case Command::kDistill:
      return "distill";
  }
  return {};
}

}  // namespace ekd

#include "ekd/settings/config.h"

#include <iterator>

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

std::vector<Field> config_fields(Config& config, Command command) {
  std::vector<Field> all;
  const auto append = [&](std::vector<Field> fields) {
    all.insert(all.end(), std::make_move_iterator(fields.begin()), std::make_move_iterator(fields.end()));
  };
  append(data_fields(config.data));
  append(model_fields(config.model));
  append(augment_fields(config.augment));
  append(optim_fields(config.optim));
  if (command == Command::kDistill) append(distill_fields(config.distill));
  append(eval_fields(config.eval));
  append(run_fields(config.run));
  return all;
}

}  // namespace ekd

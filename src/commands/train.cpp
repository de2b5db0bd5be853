// train-teacher, train-student and distill.
#include <spdlog/spdlog.h>

#include <cstdio>
#include <memory>

#include "commands/settings.h"
#include "ekd/commands/command.h"
#include "ekd/core/error.h"
#include "ekd/core/signals.h"
#include "ekd/core/strict_json.h"
#include "ekd/runs/run_dir.h"
#include "ekd/settings/config.h"
#include "ekd/settings/stored_settings.h"
#include "ekd/train/training_run.h"

namespace ekd {
namespace {

struct TrainingOptions {
  std::unique_ptr<Settings> settings;
  std::string run_dir, progress = "auto";
  bool resume = false, dry_run = false, json = false;
};

const char* description(Command command) {
  switch (command) {
    case Command::kTrainTeacher:
      return "Train a network with one augmentation";
    case Command::kTrainStudent:
      return "Train the small network without a teacher";
    case Command::kDistill:
      return "Train a student from one or more frozen teachers";
  }
  return "";
}

// runs/teacher-cutmix-s0, runs/student-none-s0, runs/distill-add-loss-T50-s0, runs/distill-dkd-add-loss-T4-s0
std::string default_run_dir(Command command, const Config& config) {
  const std::string seed = "-s" + std::to_string(config.run.seed);
  if (command == Command::kTrainTeacher) return "runs/teacher-" + config.augment.name + seed;
  if (command == Command::kTrainStudent) return "runs/student-" + config.augment.name + seed;
  const DistillConfig& distill = config.distill;
  const std::string loss = distill.loss == "kd" ? "" : distill.loss + "-";
  return fmt::format("runs/distill-{}{}-T{:g}{}", loss, distill.kd, distill.temperature, seed);
}

Config read_settings(const TrainingOptions& options, Command command, std::string& run_dir) {
  Config config = default_config(command);
  take_loss_defaults(config.distill, options.settings->apply(config_fields(config, command)));
  if (run_dir.empty()) run_dir = default_run_dir(command, config);
  if (!options.resume || run_state(run_dir) == RunState::kAbsent) return config;
  // The run's own settings take the place of the defaults.
  config = stored_settings(run_dir, command);
  options.settings->apply(config_fields(config, command));
  check_settings_agree(config, run_dir, command);
  return config;
}

std::string result_text(const nlohmann::ordered_json& result) {
  const auto& best = result.at("best");
  const std::string by = best.value("selected_by", "accuracy");
  const std::string best_name =
      fmt::format("best, epoch {} (chosen on {}{})", best.at("epoch").get<std::int64_t>() + 1,
                  best.at("selected_on").get<std::string>(), by == "accuracy" ? "" : " by " + by);
  std::vector<NamedMetrics> rows{{"last", metrics_from_json(result.at("last"))}, {best_name, metrics_from_json(best)}};
  if (result.contains("ema")) rows.push_back({"ema", metrics_from_json(result["ema"])});
  return result.at("model").get<std::string>() + " on the test set\n" + metrics_table(rows);
}

// The result of a finished run is read from its file, which somebody may have edited.
void print_result(const nlohmann::ordered_json& result, const std::string& run_dir) {
  try {
    std::printf("%s: %s", run_dir.c_str(), result_text(result).c_str());
  } catch (const nlohmann::json::exception& error) {
    throw WeightsError(RunFiles(run_dir).result().string() + ": is damaged: " + error.what());
  }
}

int run(const TrainingOptions& options, Command command, const GlobalOptions& global) {
  TrainingRequest request{.command = command,
                          .config = {},
                          .run_dir = options.run_dir,
                          .resume = options.resume,
                          .progress = resolve_progress(options.progress),
                          .command_line = global.command_line};
  std::string run_dir = options.run_dir;
  request.config = read_settings(options, command, run_dir);
  request.run_dir = run_dir;
  if (options.settings->printed(config_fields(request.config, command))) return 0;
  if (options.dry_run) {
    std::printf("%s\n", json_text(plan_training(request), 2).c_str());
    return 0;
  }
  install_signal_handlers();
  const TrainingOutcome outcome = run_trainings({request}).front();
  if (outcome.failure) outcome.failure->raise();
  if (outcome.stopped != 0) return stop_exit_code(outcome.stopped);
  if (options.json) {
    std::printf("%s\n", json_text(outcome.result).c_str());
  } else {
    print_result(outcome.result, run_dir);
  }
  return 0;
}

}  // namespace

CommandRow add_training_command(CLI::App& root, Command command, GlobalOptions& global) {
  CLI::App* app = root.add_subcommand(command_name(command), description(command));
  auto options = std::make_shared<TrainingOptions>();
  Config defaults = default_config(command);
  options->settings = std::make_unique<Settings>(*app, config_fields(defaults, command));
  app->add_flag("--dry-run", options->dry_run, "check everything, print what would be trained, and stop")
      ->group("Config");
  app->add_option("--run-dir", options->run_dir, "the run's folder (default: a name under runs/ made of the settings)")
      ->check([](const std::string& text) { return text.empty() ? "takes a folder, not ''" : ""; })
      ->type_name("DIR")
      ->group("Run");
  app->add_flag("--resume", options->resume, "go on with the run in --run-dir; start it where there is none")
      ->group("Run");
  app->add_flag("--json", options->json, "print one result object on stdout")->group("Output");
  app->add_option("--progress", options->progress, "auto, bar, lines or none")
      ->check(member_of({"auto", "bar", "lines", "none"}))
      ->type_name("STYLE")
      ->group("Output");
  add_output_options(*app, global);
  return {app, [app, options, command, &global] {
            apply_environment(*app, options->settings->option_names());
            return run(*options, command, global);
          }};
}

}  // namespace ekd

// What every command is: options on a CLI11 app, and a function that runs once they are parsed. And what commands
// share: EKD_* variables (every long option of a command has one, --batch-size is EKD_BATCH_SIZE), a check for names,
// and the table of results.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "ekd/metrics/metrics.h"
#include "ekd/settings/config.h"

namespace ekd {

// How an invocation ended well: 0, or 128 + a signal after saving. Everything else is an exception.
using CommandBody = std::function<int()>;

struct CommandRow {
  CLI::App* app;
  CommandBody body;
};

// What all commands share.
struct GlobalOptions {
  int verbosity = 0;
  std::vector<std::string> command_line;  // as typed, for run.json
};

// -q, -v. `global` outlives the app.
void add_output_options(CLI::App& app, GlobalOptions& global);

CommandRow add_training_command(CLI::App& root, Command command, GlobalOptions& global);
CommandRow add_evaluate_command(CLI::App& root, GlobalOptions& global);
CommandRow add_predict_command(CLI::App& root, GlobalOptions& global);
CommandRow add_run_command(CLI::App& root, GlobalOptions& global);
CommandRow add_preview_command(CLI::App& root, GlobalOptions& global);
CommandRow add_report_command(CLI::App& root, GlobalOptions& global);

CommandRow add_config_docs_command(CLI::App& root);

// `ekd data verify|info|import|make-synthetic`: a row for each.
std::vector<CommandRow> add_data_commands(CLI::App& root, GlobalOptions& global);

// A check that names what is accepted and the nearest name.
CLI::Validator member_of(const std::vector<std::string>& names);

// "--batch-size" → "EKD_BATCH_SIZE"
std::string environment_name(const std::string& flag);

// Gives `app`'s options that were not typed the value of their variable, except `handled_elsewhere` (long names without
// dashes). Throws UsageError where a value does not fit.
void apply_environment(CLI::App& app, const std::vector<std::string>& handled_elsewhere = {});

// Warns of EKD_* variables that are no option of any command under `root`, or are one of another command than `app` and
// but an "s" away from one of this.
void warn_of_unknown_variables(const CLI::App& root, const CLI::App& app);

struct NamedMetrics {
  std::string name;
  Metrics metrics;
};

// Name, n, and the metrics that belong in brief, at each number of bins that the first row has.
std::string metrics_table(const std::vector<NamedMetrics>& rows);

}  // namespace ekd

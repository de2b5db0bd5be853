// What every command is: options on a CLI11 app, and a function that runs once they are parsed.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

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
CommandRow add_run_command(CLI::App& root, GlobalOptions& global);
CommandRow add_preview_command(CLI::App& root, GlobalOptions& global);
CommandRow add_report_command(CLI::App& root, GlobalOptions& global);

CommandRow add_config_docs_command(CLI::App& root);

// `ekd data verify|info|make-synthetic`: a row for each.
std::vector<CommandRow> add_data_commands(CLI::App& root, GlobalOptions& global);

}  // namespace ekd

// One binary, a few commands. Exceptions become one line on stderr and an exit code here and nowhere else.
#include <c10/util/Exception.h>
#include <spdlog/spdlog.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "ekd/commands/command.h"
#include "ekd/core/device.h"
#include "ekd/core/error.h"
#include "ekd/core/log.h"
#include "ekd/core/signals.h"
#include "ekd/core/text.h"
#include "ekd/version.h"

namespace ekd {
namespace {

std::vector<std::string> names_of(const std::vector<CLI::App*>& apps) {
  std::vector<std::string> names;
  for (const CLI::App* app : apps)
    if (!app->get_group().empty()) names.push_back(app->get_name());
  return names;
}

// The innermost command that was named.
CLI::App* named_command(CLI::App& root) {
  CLI::App* app = &root;
  while (!app->get_subcommands().empty()) app = app->get_subcommands().front();
  return app;
}

[[noreturn]] void reject_leftover(const CLI::App& app, const std::string& word) {
  if (!word.starts_with('-')) {
    const auto commands = names_of(const_cast<CLI::App&>(app).get_subcommands([](CLI::App*) { return true; }));
    if (!commands.empty())
      throw UsageError("unknown command '" + word + "'; commands are " + join(commands) + did_you_mean(word, commands));
    throw UsageError("unexpected argument '" + word + "'");
  }
  std::vector<std::string> options;
  for (const CLI::Option* option : app.get_options())
    for (const auto& name : option->get_lnames()) options.push_back(name);
  const std::string name = word.substr(0, word.find('='));
  const std::string nearest = nearest_name(
      name.substr(name.find_first_not_of('-') == std::string::npos ? 0 : name.find_first_not_of('-')), options);
  throw UsageError("unknown option '" + word + "'" + (nearest.empty() ? "" : "; did you mean --" + nearest + "?"));
}

void check_leftovers(CLI::App& root, CLI::App& app) {
  for (CLI::App* level = &app; level != nullptr; level = level == &root ? nullptr : level->get_parent()) {
    const auto left = level->remaining();
    if (!left.empty()) reject_leftover(*level, left.front());
  }
}

int dispatch(int argc, char** argv) {
  GlobalOptions global{.verbosity = 0, .command_line = {argv, argv + argc}};
  CLI::App root{"Train calibrated teachers and distil them into a small student.", "ekd"};
  root.set_version_flag("--version", std::string("ekd ") + EKD_VERSION + " (" + EKD_GIT_COMMIT + ")");
  root.require_subcommand(0, 1);
  root.option_defaults()->take_last();  // scripts append what they override
  std::vector<CommandRow> commands{add_training_command(root, Command::kTrainTeacher, global),
                                   add_training_command(root, Command::kTrainStudent, global),
                                   add_training_command(root, Command::kDistill, global),
                                   add_evaluate_command(root, global),
                                   add_predict_command(root, global),
                                   add_run_command(root, global),
                                   add_preview_command(root, global),
                                   add_report_command(root, global),
                                   add_config_docs_command(root)};
  for (auto& row : add_data_commands(root, global)) commands.push_back(row);
  root.allow_extras();
  for (CLI::App* app : root.get_subcommands([](CLI::App*) { return true; })) app->allow_extras();
  for (auto& row : commands) row.app->allow_extras();

  try {
    root.parse(argc, argv);
  } catch (const CLI::Success& success) {  // --help, --version
    return root.exit(success);
  } catch (const CLI::ParseError& error) {
    throw UsageError(error.what());
  }
  set_up_log(global.verbosity);
  CLI::App* app = named_command(root);
  check_leftovers(root, *app);
  for (const auto& row : commands) {
    if (row.app != app) continue;
    warn_of_unknown_variables(root, *app);
    set_threads(0);  // also for commands without such a setting
    const int code = row.body();
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
      throw IoError(std::string("cannot write the result to standard output: ") + std::strerror(errno));
    return code;
  }
  const std::string prefix = app == &root ? "ekd" : "ekd " + app->get_name();
  throw UsageError("no command given; type " + prefix + " COMMAND --help, where COMMAND is one of " +
                   join(names_of(app->get_subcommands([](CLI::App*) { return true; }))));
}

// Errors of libraries carry traces and advice for programmers: the first line is for the user.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

int report(ExitCode code, const std::string& message) {
  spdlog::error("{}", message);
  return static_cast<int>(code);
}

}  // namespace
}  // namespace ekd

int main(int argc, char** argv) {
  using namespace ekd;
  open_standard_streams();
  ignore_write_signals();
  set_up_host_memory();
  set_up_log(0);
  try {
    return dispatch(argc, argv);
  } catch (const Error& error) {
    return report(error.code(), error.what());
  } catch (const c10::Error& error) {
    spdlog::trace("{}", error.what());
    return report(ExitCode::kInternal, "internal error: " + first_line(error.what_without_backtrace()));
  } catch (const std::bad_alloc&) {
    return report(ExitCode::kMemory, "not enough memory");
  } catch (const std::exception& error) {
    return report(ExitCode::kInternal, "internal error: " + first_line(error.what()));
  }
}

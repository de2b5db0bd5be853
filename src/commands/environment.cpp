#include "ekd/commands/environment.h"

#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <set>

#include "ekd/core/error.h"
#include "ekd/core/text.h"

namespace ekd {
namespace {

void collect_names(const CLI::App& app, std::set<std::string>& names) {
  for (const CLI::Option* option : app.get_options())
    for (const auto& name : option->get_lnames())
      if (name != "help" && name != "version" && name != "set") names.insert(environment_name("--" + name));
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) collect_names(*sub, names);
}

}  // namespace

CLI::Validator member_of(const std::vector<std::string>& names) {
  return CLI::Validator(
      [names](const std::string& text) {
        if (std::ranges::find(names, text) != names.end()) return std::string();
        return "takes one of " + join(names) + ", not '" + text + "'" + did_you_mean(text, names);
      },
      "", "member_of");
}

std::string environment_name(const std::string& flag) {
  std::string name = "EKD_" + flag.substr(flag.find_first_not_of('-'));
  std::ranges::replace(name, '-', '_');
  std::ranges::transform(name, name.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return name;
}

void apply_environment(CLI::App& app, const std::vector<std::string>& handled_elsewhere) {
  for (CLI::Option* option : app.get_options()) {
    if (option->get_lnames().empty() || option->count() > 0) continue;
    const std::string& name = option->get_lnames().front();
    if (name == "help" || std::ranges::find(handled_elsewhere, name) != handled_elsewhere.end()) continue;
    const std::string variable = environment_name(name);
    const char* value = std::getenv(variable.c_str());
    if (value == nullptr || *value == '\0') continue;
    try {
      option->add_result(value);
      option->run_callback();
    } catch (const CLI::ParseError& error) {
      throw UsageError(variable + ": " + error.what());
    }
  }
}

void warn_of_unknown_variables(const CLI::App& root, const CLI::App& app) {
  std::set<std::string> known, here;
  collect_names(root, known);
  collect_names(app, here);
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    const std::string text = *variable;
    const std::string name = text.substr(0, text.find('='));
    if (!name.starts_with("EKD_") || here.contains(name)) continue;
    const std::string other = name.ends_with('S') ? name.substr(0, name.size() - 1) : name + "S";
    if (here.contains(other))
      spdlog::warn("{} is no option of this command and is ignored; did you mean {}?", name, other);
    if (here.contains(other) || known.contains(name)) continue;
    spdlog::warn("{} is no option of ekd and is ignored{}", name, did_you_mean(name, {known.begin(), known.end()}));
  }
}

}  // namespace ekd

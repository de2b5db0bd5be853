#include "ekd/commands/command.h"

#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <set>

#include "ekd/core/error.h"
#include "ekd/core/text.h"
#include "ekd/metrics/registry.h"
#include "ekd/runs/table_format.h"

namespace ekd {
namespace {

void collect_names(const CLI::App& app, std::set<std::string>& names) {
  for (const CLI::Option* option : app.get_options())
    for (const auto& name : option->get_lnames())
      if (name != "help" && name != "version" && name != "set") names.insert(environment_name("--" + name));
  for (const CLI::App* sub : app.get_subcommands([](const CLI::App*) { return true; })) collect_names(*sub, names);
}

}  // namespace

void add_output_options(CLI::App& app, GlobalOptions& global) {
  app.add_flag_callback(
         "-q,--quiet", [&global] { global.verbosity = -1; }, "warnings and errors only")
      ->group("Output");
  app.add_flag(
         "-v,--verbose", [&global](std::int64_t count) { global.verbosity = static_cast<int>(count); },
         "say more; -vv adds traces of errors")
      ->group("Output");
}

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

std::string metrics_table(const std::vector<NamedMetrics>& rows) {
  std::set<int> bins;
  for (const auto& [key, value] : rows.front().metrics.values)
    if (key.bins > 0) bins.insert(key.bins);
  auto columns = metric_columns({bins.begin(), bins.end()});
  std::erase_if(columns, [](const MetricColumn& column) { return !column.row->in_brief; });

  std::vector<std::vector<std::string>> cells{{"", "n"}};
  for (const auto& column : columns) {
    std::string heading = column.heading();
    std::ranges::transform(heading, heading.begin(), [](unsigned char c) { return std::tolower(c); });
    cells[0].push_back(heading);
  }
  for (const auto& [name, metrics] : rows) {
    cells.push_back({name, std::to_string(metrics.n)});
    for (const auto& [row, key] : columns) {
      const auto value = metrics.find(key);  // result.json has null for what is not finite
      cells.back().push_back(value ? fmt::format("{:.{}f}", row->scale * *value, row->digits) : "–");
    }
  }
  return format_table(cells, TableFormat::kText);
}

}  // namespace ekd

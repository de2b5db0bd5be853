// From the command line to a Config: default < --config < EKD_* < --set and flags, in the order given.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <string>
#include <vector>

#include "ekd/core/config_fields.h"

namespace ekd {

class Settings {
 public:
  // Adds a flag for every field of `command` that has one, and --config and --set. The object outlives the app's parse.
  Settings(CLI::App& app, Command command);

  // Applies what was parsed to `config`. Throws UsageError naming source, key, what is accepted and the nearest name.
  void apply(Config& config) const;

  // The long names, without dashes, of the options that apply() reads.
  std::vector<std::string> option_names() const;

 private:
  void apply_typed(const std::vector<Field>& fields) const;

  CLI::App& app_;
  Command command_;
  std::string config_file_;
  std::vector<std::string> sets_;
  std::map<std::string, std::vector<std::string>> values_;  // by flag
  std::map<const CLI::Option*, std::string> keys_;          // field key by option
  CLI::Option* set_option_ = nullptr;
};

// Copies of `config`'s fields keep pointing into `config`.
std::vector<Field> fields_of(Config& config, Command command);

}  // namespace ekd

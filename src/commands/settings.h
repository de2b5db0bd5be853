// From the command line to a command's settings: default < --config < EKD_* < --set and flags, in the order given.
#pragma once

#include <CLI/CLI.hpp>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "ekd/core/field.h"

namespace ekd {

class Settings {
 public:
  // Adds a flag for every field that has one, and --config, --set and --print-config. The fields hold the defaults;
  // they are not kept. The object outlives the app's parse.
  Settings(CLI::App& app, const std::vector<Field>& fields);

  // Applies what was parsed to these fields, which have the same keys; returns the keys that were given. Throws
  // UsageError naming source, key, what is accepted and the nearest name.
  std::set<std::string> apply(const std::vector<Field>& fields) const;

  // Prints the fields as JSON where --print-config asks for it; returns whether it does.
  bool printed(const std::vector<Field>& fields) const;

  // The long names, without dashes, of the options that apply() reads.
  std::vector<std::string> option_names() const;

 private:
  void apply_typed(const std::vector<Field>& fields, std::set<std::string>& given) const;

  CLI::App& app_;
  std::string config_file_;
  std::vector<std::string> sets_;
  std::map<std::string, std::vector<std::string>> values_;  // by flag
  std::map<const CLI::Option*, std::string> keys_;          // field key by option
  CLI::Option *set_option_ = nullptr, *config_option_ = nullptr;
  bool print_ = false;
};

}  // namespace ekd

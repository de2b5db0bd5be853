// What options share: a check for names, and EKD_* variables: every long option of a command has one, --batch-size is
// EKD_BATCH_SIZE.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <utility>
#include <vector>

namespace ekd {

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

}  // namespace ekd

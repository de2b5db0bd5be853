// What tells runs apart: a table of the settings that are not the same in all of them.
#pragma once

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace ekd {

// {"optim": {"lr": 0.1}} → {"optim.lr": "0.1"}: JSON texts without quotes around strings.
std::map<std::string, std::string> flat_settings(const nlohmann::json& settings);

// The settings of runs, by key, as flat_settings gives them.
struct ConfigRow {
  std::string name;
  std::map<std::string, std::string> settings;
};

// One row a run, one column for each key that is not the same in all of them.
std::vector<std::vector<std::string>> differing_settings(const std::vector<ConfigRow>& rows);

}  // namespace ekd

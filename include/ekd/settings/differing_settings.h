// What tells runs apart: a table of the settings that are not the same in all of them.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace ekd {

// The settings of runs, by key, as JSON texts without quotes around strings.
struct ConfigRow {
  std::string name;
  std::map<std::string, std::string> settings;
};

// One row a run, one column for each key that is not the same in all of them.
std::vector<std::vector<std::string>> differing_settings(const std::vector<ConfigRow>& rows);

}  // namespace ekd

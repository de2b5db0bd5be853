#include "ekd/settings/differing_settings.h"

#include <algorithm>
#include <set>

#include "ekd/core/strict_json.h"

namespace ekd {
namespace {

void flatten(const nlohmann::json& value, const std::string& key, std::map<std::string, std::string>& settings) {
  if (!value.is_object()) {
    settings[key] = value.is_string() ? value.get<std::string>() : json_text(value);
    return;
  }
  for (const auto& [name, part] : value.items()) flatten(part, key.empty() ? name : key + "." + name, settings);
}

}  // namespace

std::map<std::string, std::string> flat_settings(const nlohmann::json& settings) {
  std::map<std::string, std::string> flat;
  flatten(settings, "", flat);
  return flat;
}

std::vector<std::vector<std::string>> differing_settings(const std::vector<ConfigRow>& rows) {
  std::map<std::string, std::set<std::string>> seen;  // absent counts as a value of its own
  for (const auto& row : rows)
    for (const auto& [key, value] : row.settings) seen[key].insert(value);
  std::vector<std::vector<std::string>> cells{{"name"}};
  for (const auto& [key, values] : seen) {
    // Named anew: clang 14 captures no structured bindings.
    const bool everywhere =
        std::ranges::all_of(rows, [&name = key](const auto& row) { return row.settings.contains(name); });
    if (values.size() > 1 || !everywhere) cells[0].push_back(key);
  }
  for (const auto& row : rows) {
    cells.push_back({row.name});
    for (std::size_t i = 1; i < cells[0].size(); ++i) {
      const auto found = row.settings.find(cells[0][i]);
      cells.back().push_back(found == row.settings.end() ? "–" : found->second);
    }
  }
  return cells;
}

}  // namespace ekd

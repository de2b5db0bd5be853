#include "commands/table.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "ekd/metrics/registry.h"
#include "ekd/runs/table_format.h"

namespace ekd {

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

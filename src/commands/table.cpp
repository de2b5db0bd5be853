#include "ekd/commands/table.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

namespace ekd {

std::string text_table(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      text += i == 0 ? fmt::format("{:<{}}", row[i], widths[i]) : fmt::format("  {:>{}}", row[i], widths[i]);
    }
    while (text.ends_with(' ')) text.pop_back();
    text += '\n';
  }
  return text;
}

std::string metrics_table(const std::vector<MetricsRow>& rows) {
  std::vector<std::vector<std::string>> cells{{"", "n", "accuracy %", "nll", "brier"}};
  std::vector<int> bins;
  for (const auto& item : rows.front().metrics.at("calibration").items()) bins.push_back(std::stoi(item.key()));
  std::ranges::sort(bins);
  for (const int count : bins) {
    cells[0].push_back(fmt::format("ece ({} bins)", count));
    cells[0].push_back(fmt::format("oe ({} bins)", count));
  }
  for (const auto& [name, metrics] : rows) {
    cells.push_back({name, metrics.at("n").dump(), fmt::format("{:.2f}", 100 * metrics.at("accuracy").get<double>()),
                     fmt::format("{:.4f}", metrics.at("nll").get<double>()),
                     fmt::format("{:.4f}", metrics.at("brier").get<double>())});
    for (const int count : bins) {
      const auto& at = metrics.at("calibration").at(std::to_string(count));
      cells.back().push_back(fmt::format("{:.4f}", at.at("ece").get<double>()));
      cells.back().push_back(fmt::format("{:.4f}", at.at("oe").get<double>()));
    }
  }
  return text_table(cells);
}

}  // namespace ekd

#include "ekd/study/ordering_table.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>

#include "ekd/metrics/registry.h"

namespace ekd {
namespace {

constexpr const char* kVerdicts[] = {"holds", "open", "reversed", "unknown"};

std::string name_of(Verdict verdict) { return kVerdicts[static_cast<int>(verdict)]; }

nlohmann::json json_of(const std::optional<double>& value) {
  return value ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

// "+1.20", in the units and digits of the column.
std::string with_sign(const std::optional<double>& value, const MetricRow& row) {
  if (!value) return "–";
  return (*value < 0 ? "−" : "+") + fmt::format("{:.{}f}", std::abs(*value) * row.scale, row.digits);
}

std::vector<std::vector<std::string>> cells_for_people(const std::vector<CheckedOrdering>& orderings) {
  std::vector<std::vector<std::string>> cells{
      {"better", "than", "in", "n", "difference", "floors", "paper", "verdict"}};
  for (const auto& item : orderings) {
    const MetricColumn& column = *find_metric_column(item.metric);
    std::string difference = with_sign(item.difference, *column.row);
    if (item.margin) difference += fmt::format(" ± {:.{}f}", *item.margin * column.row->scale, column.row->digits);
    cells.push_back({item.better, item.than, column.heading(), std::to_string(item.seeds), difference,
                     with_sign(item.floor, *column.row), with_sign(item.published, *column.row),
                     name_of(item.verdict())});
  }
  return cells;
}

std::vector<std::vector<std::string>> csv_cells_of(const std::vector<CheckedOrdering>& orderings) {
  std::vector<std::vector<std::string>> cells{
      {"better", "than", "metric", "n", "difference", "sigma", "margin", "floor", "published", "verdict"}};
  const auto number = [](const std::optional<double>& value) { return value ? fmt::format("{}", *value) : ""; };
  for (const auto& item : orderings)
    cells.push_back({item.better, item.than, item.metric, std::to_string(item.seeds), number(item.difference),
                     number(item.sigma), number(item.margin), number(item.floor), number(item.published),
                     name_of(item.verdict())});
  return cells;
}

std::string summary(const std::vector<CheckedOrdering>& orderings) {
  std::string text = fmt::format("of {} claims", orderings.size());
  for (const Verdict verdict : {Verdict::kHolds, Verdict::kOpen, Verdict::kReversed, Verdict::kUnknown}) {
    const auto count = std::ranges::count(orderings, verdict, &CheckedOrdering::verdict);
    if (count > 0) text += fmt::format("{} {} {}", text.ends_with("claims") ? "" : ",", count, name_of(verdict));
  }
  const auto explained = std::ranges::count_if(orderings, &CheckedOrdering::explained_by_floors);
  if (explained > 0) text += fmt::format(" ({} open since the difference of the floors explains them)", explained);
  return text +
         "; difference ± its 95 % interval over test images and seeds; beyond, and beyond less floors: holds or "
         "reversed, "
         "within: open";
}

}  // namespace

Verdict CheckedOrdering::verdict() const {
  if (!difference || !margin) return Verdict::kUnknown;
  const MetricRow& row = *find_metric_column(metric)->row;
  const bool larger_is_better = row.better == Better::kLarger;
  // A difference that a table shows as 0 is none, however small its margin.
  if (std::abs(*difference) * row.scale < 0.5 * std::pow(10, -row.digits)) return Verdict::kOpen;
  const auto verdict_on = [&](double value) {
    if (std::abs(value) <= *margin) return Verdict::kOpen;
    return (value > 0) == larger_is_better ? Verdict::kHolds : Verdict::kReversed;
  };
  const Verdict measured = verdict_on(*difference), left = verdict_on(*difference - floor.value_or(0));
  return measured == left ? measured : Verdict::kOpen;
}

bool CheckedOrdering::explained_by_floors() const {
  return difference && margin && std::abs(*difference) > *margin && floor && verdict() == Verdict::kOpen;
}

const std::vector<std::string>& ordered_metrics() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> ordered;
    for (const auto& column : metric_columns(kReportedBins))
      if (column.row->has_interval() && column.row->better != Better::kNeither) ordered.push_back(column.name());
    return ordered;
  }();
  return names;
}

nlohmann::ordered_json orderings_json(const std::vector<CheckedOrdering>& orderings) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& item : orderings)
    list.push_back({{"better", item.better},
                    {"than", item.than},
                    {"metric", item.metric},
                    {"n", item.seeds},
                    {"difference", json_of(item.difference)},
                    {"sigma", json_of(item.sigma)},
                    {"margin", json_of(item.margin)},
                    {"floor", json_of(item.floor)},
                    {"published", json_of(item.published)},
                    {"verdict", name_of(item.verdict())}});
  return {{"orderings", list}};
}

std::string orderings_table(const std::vector<CheckedOrdering>& orderings, TableFormat format) {
  if (format == TableFormat::kCsv) return format_table(csv_cells_of(orderings), format);
  return format_table(cells_for_people(orderings), format) + format_note(summary(orderings), format);
}

}  // namespace ekd

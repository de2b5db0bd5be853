#include "ekd/study/report_table.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "ekd/core/error.h"
#include "ekd/core/text.h"
#include "ekd/metrics/registry.h"
#include "ekd/metrics/statistics.h"

namespace ekd {
namespace {

constexpr std::string_view kInterval = "_interval";
const std::vector<std::string> kUsual{"accuracy", "ece15", "ece100", "oe100", "nll"};
const std::string kUnknown = "–";

std::vector<ReportColumn> all_columns() {
  std::vector<ReportColumn> columns, scaled;
  const auto add = [&](const std::vector<MetricColumn>& metrics) {
    for (const auto& metric : metrics) {
      const MetricRow& row = *metric.row;
      columns.push_back({metric.name(), metric.heading(), row.scale, row.digits});
      if (row.scaled) scaled.push_back({metric.name() + "_scaled", metric.heading(" scaled"), row.scale, row.digits});
    }
    for (const auto& metric : metrics)
      if (metric.row->floored)
        columns.push_back({metric.name() + "_floor", metric.heading(" floor"), metric.row->scale, metric.row->digits});
  };
  auto metrics = metric_columns(kReportedBins);
  while (!metrics.empty()) {
    const int bins = metrics.front().key.bins;
    const auto others = std::stable_partition(metrics.begin(), metrics.end(),
                                              [&](const auto& metric) { return metric.key.bins == bins; });
    add({metrics.begin(), others});
    metrics.erase(metrics.begin(), others);
  }
  columns.push_back({"temperature", "temperature", 1, 3});
  columns.insert(columns.end(), scaled.begin(), scaled.end());
  return columns;
}

bool is_published(const std::string& column) {
  return std::ranges::find(published_columns(), column) != published_columns().end();
}

bool known(const std::optional<double>& value) { return value && std::isfinite(*value); }

nlohmann::json number(const std::optional<double>& value) {
  return known(value) ? nlohmann::json(*value) : nlohmann::json(nullptr);
}

const ReportValue& value_of(const ReportRow& row, const ReportColumn& column) {
  static const ReportValue kNone;
  const auto found = row.values.find(column.name);
  return found == row.values.end() ? kNone : found->second;
}

// Each column once: an interval is part of its column.
std::vector<const ReportColumn*> without_intervals(const std::vector<ColumnChoice>& choices) {
  std::vector<const ReportColumn*> columns;
  for (const auto& choice : choices)
    if (std::ranges::find(columns, choice.column) == columns.end()) columns.push_back(choice.column);
  return columns;
}

class Cells {
 public:
  Cells(const std::vector<ReportRow>& rows, const std::vector<ColumnChoice>& choices) : choices_(choices) {
    for (const auto& row : rows)
      for (const auto& [column, published] : row.paper) published_.insert(column);
  }

  // In LaTeX each heading stands alone: "paper" would not say of what.
  std::vector<std::string> heading(TableFormat format) const {
    std::vector<std::string> cells{"name", "n"};
    for (const auto& [column, interval] : choices_) {
      cells.push_back(column->heading + (interval ? " 95 %" : ""));
      if (interval || !published_.contains(column->name)) continue;
      const std::string of = format == TableFormat::kLatex ? column->heading + ", " : "";
      for (const auto* beside : {"paper", "diff"}) cells.push_back(of + beside);
    }
    return cells;
  }

  std::vector<std::string> of(const ReportRow& row) const {
    std::vector<std::string> cells{row.name, std::to_string(row.seeds.size())};
    for (const auto& [column, interval] : choices_) {
      cells.push_back(interval ? interval_cell(value_of(row, *column), *column)
                               : mean_cell(value_of(row, *column), *column));
      if (interval || !published_.contains(column->name)) continue;
      const auto published = row.paper.find(column->name);
      const bool there = published != row.paper.end();
      cells.push_back(there ? shown(published->second.published, *column) : kUnknown);
      cells.push_back(there ? difference_cell(published->second, *column) : kUnknown);
    }
    return cells;
  }

  bool any_published() const {
    return std::ranges::any_of(
        choices_, [&](const auto& choice) { return !choice.interval && published_.contains(choice.column->name); });
  }

 private:
  static std::string shown(double value, const ReportColumn& column) {
    return fmt::format("{:.{}f}", value * column.scale, column.digits);
  }

  static std::string mean_cell(const ReportValue& value, const ReportColumn& column) {
    if (!known(value.mean)) return kUnknown;
    return shown(*value.mean, column) + (known(value.std) ? " ± " + shown(*value.std, column) : "");
  }

  static std::string interval_cell(const ReportValue& value, const ReportColumn& column) {
    if (!known(value.low) || !known(value.high)) return kUnknown;
    return "[" + shown(*value.low, column) + ", " + shown(*value.high, column) + "]";
  }

  static std::string difference_cell(const PublishedValue& value, const ReportColumn& column) {
    const auto within = value.within();
    const std::string size = shown(std::abs(value.difference), column);
    return (value.difference < 0 ? "−" : "+") + size + (!within ? " ?" : *within ? " ✓" : " ✗");
  }

  const std::vector<ColumnChoice>& choices_;
  std::set<std::string> published_;
};

std::string csv_number(const std::optional<double>& value) { return known(value) ? fmt::format("{}", *value) : ""; }

std::vector<std::vector<std::string>> csv_cells(const std::vector<ReportRow>& rows,
                                                const std::vector<ColumnChoice>& choices) {
  const auto columns = without_intervals(choices);
  std::vector<std::vector<std::string>> cells{{"name", "n"}};
  for (const auto* column : columns) {
    for (const auto* part : {"_mean", "_std", "_low", "_high"}) cells[0].push_back(column->name + part);
    if (!is_published(column->name)) continue;
    for (const auto* part : {"_paper", "_difference", "_sigma", "_within"}) cells[0].push_back(column->name + part);
  }
  for (const auto& row : rows) {
    cells.push_back({row.name, std::to_string(row.seeds.size())});
    auto& line = cells.back();
    for (const auto* column : columns) {
      const ReportValue& value = value_of(row, *column);
      for (const auto& part : {value.mean, value.std, value.low, value.high}) line.push_back(csv_number(part));
      if (!is_published(column->name)) continue;
      const auto found = row.paper.find(column->name);
      if (found == row.paper.end()) {
        line.insert(line.end(), 4, "");
        continue;
      }
      const auto within = found->second.within();
      for (const auto& part :
           {std::optional(found->second.published), std::optional(found->second.difference), found->second.sigma})
        line.push_back(csv_number(part));
      line.push_back(!within ? "" : *within ? "true" : "false");
    }
  }
  return cells;
}

}  // namespace

std::optional<bool> PublishedValue::within() const {
  if (!known(sigma)) return std::nullopt;
  return std::abs(difference) <= std::max(2.0, student_quantile(0.975, degrees)) * *sigma;
}

void ReportRow::drop_paper() {
  has_paper = false;
  paper.clear();
}

const std::vector<std::string>& published_columns() {
  static const std::vector<std::string> kPublished{"accuracy", "ece100", "oe100"};
  return kPublished;
}

const std::vector<ReportColumn>& report_columns() {
  static const std::vector<ReportColumn> kColumns = all_columns();
  return kColumns;
}

std::vector<ColumnChoice> choose_columns(const std::string& text, bool all) {
  std::vector<std::string> names = all ? std::vector<std::string>{} : kUsual, accepted, candidates;
  for (const auto& column : report_columns()) {
    accepted.push_back(column.name);
    candidates.push_back(column.name);
    candidates.push_back(column.name + std::string(kInterval));
  }
  if (text.empty() && all) names = accepted;
  if (!text.empty()) {
    names.clear();
    for (std::size_t begin = 0; begin <= text.size();) {
      const std::size_t end = std::min(text.find(',', begin), text.size());
      names.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  std::vector<ColumnChoice> choices;
  for (const auto& name : names) {
    const bool interval = name.ends_with(kInterval);
    const std::string base = interval ? name.substr(0, name.size() - kInterval.size()) : name;
    const auto found = std::ranges::find(report_columns(), base, &ReportColumn::name);
    if (found == report_columns().end()) {
      throw UsageError("--columns: no column '" + name + "'; there are " + join(accepted) +
                       ", each also with _interval" + did_you_mean(name, candidates));
    }
    choices.push_back({&*found, interval});
  }
  return choices;
}

nlohmann::ordered_json report_json(const std::vector<ReportRow>& rows, const std::vector<ColumnChoice>& choices) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& row : rows) {
    nlohmann::ordered_json object{{"name", row.name}, {"n", row.seeds.size()}, {"seeds", row.seeds}};
    for (const auto* column : without_intervals(choices)) {
      const ReportValue& value = value_of(row, *column);
      object[column->name] = {{"mean", number(value.mean)},
                              {"std", number(value.std)},
                              {"low", number(value.low)},
                              {"high", number(value.high)}};
    }
    for (const auto* part : {"paper", "difference", "sigma", "within"}) {
      object[part] = nullptr;
      if (row.has_paper)
        for (const auto& column : published_columns()) object[part][column] = nullptr;
    }
    for (const auto& [column, value] : row.paper) {
      object["paper"][column] = number(value.published);
      object["difference"][column] = number(value.difference);
      object["sigma"][column] = number(value.sigma);
      if (value.within()) object["within"][column] = *value.within();
    }
    list.push_back(object);
  }
  return {{"rows", list}};
}

std::string report_table(const std::vector<ReportRow>& rows, const std::vector<ColumnChoice>& columns,
                         TableFormat format) {
  if (format == TableFormat::kCsv) return format_table(csv_cells(rows, columns), format);
  const Cells cells(rows, columns);
  std::vector<std::vector<std::string>> grid{cells.heading(format)};
  for (const auto& row : rows) grid.push_back(cells.of(row));
  std::string text = format_table(grid, format);
  if (cells.any_published()) {
    text += format_note(
        "diff: ours − paper; ✓ within 2σ (few seeds: t·σ) of sampling and seed noise, ✗ beyond, ? not known (no saved "
        "predictions)",
        format);
  }
  return text;
}

}  // namespace ekd

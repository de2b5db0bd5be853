#include "ekd/metrics/registry.h"

#include <algorithm>
#include <cmath>

#include "ekd/metrics/calibration.h"

namespace ekd {
namespace {

double squared_error(const ImageAnswer& image) {
  const double p = image.probs[image.label];
  return image.squares - p * p + (1 - p) * (1 - p);
}

double ece_of_bin(const BinTally& bin) { return std::abs(bin.confidence - bin.hits); }

double oe_of_bin(const BinTally& bin) { return bin.confidence / bin.count * std::max(bin.confidence - bin.hits, 0.0); }

std::vector<MetricRow> metrics_of_one_number() {
  return {{.name = "accuracy",
           .help = "accuracy %",
           .better = Better::kLarger,
           .scale = 100,
           .digits = 2,
           .in_brief = true,
           .of_image = [](const ImageAnswer& image) { return image.rank == 0 ? 1.0 : 0.0; }},
          {.name = "top5",
           .help = "top-5 %",
           .better = Better::kLarger,
           .scale = 100,
           .digits = 2,
           .of_image = [](const ImageAnswer& image) { return image.rank < 5 ? 1.0 : 0.0; }},
          {.name = "nll",
           .help = "NLL",
           .in_brief = true,
           .scaled = true,
           .of_image = [](const ImageAnswer& image) { return -image.log_probs[image.label]; }},
          {.name = "brier", .help = "Brier", .in_brief = true, .of_image = squared_error},
          {.name = "mean_confidence",
           .help = "confidence",
           .better = Better::kNeither,
           .of_image = [](const ImageAnswer& image) { return image.confidence; }},
          {.name = "aurc", .help = "AURC", .of_answers = [](const Answers& answers, int) {
             return area_under_risk_coverage(answers.ascending);
           }}};
}

std::vector<MetricRow> binned_metrics() {
  return {{.name = "ece",
           .help = "ECE",
           .binned = true,
           .in_brief = true,
           .scaled = true,
           .floored = true,
           .of_answers = [](const Answers& answers,
                            int bins) { return expected_calibration_error(answers.reliability.at(bins)); },
           .of_bin = ece_of_bin},
          {.name = "oe",
           .help = "OE",
           .binned = true,
           .in_brief = true,
           .scaled = true,
           .of_answers = [](const Answers& answers,
                            int bins) { return overconfidence_error(answers.reliability.at(bins)); },
           .of_bin = oe_of_bin},
          {.name = "mce",
           .help = "MCE",
           .binned = true,
           .of_answers = [](const Answers& answers,
                            int bins) { return maximum_calibration_error(answers.reliability.at(bins)); }},
          {.name = "adaptive_ece",
           .help = "adaptive ECE",
           .binned = true,
           .of_answers = [](const Answers& answers,
                            int bins) { return adaptive_calibration_error(answers.ascending, bins); }},
          {.name = "classwise_ece",
           .help = "class-wise ECE",
           .binned = true,
           .of_answers = [](const Answers& answers, int bins) {
             return classwise_calibration_error(answers.probs, answers.labels, bins);
           }}};
}

}  // namespace

const Registry<MetricRow>& metric_registry() {
  static const Registry<MetricRow> registry = [] {
    std::vector<MetricRow> rows = metrics_of_one_number();
    std::ranges::move(binned_metrics(), std::back_inserter(rows));
    return Registry<MetricRow>("metric", std::move(rows));
  }();
  return registry;
}

std::string MetricColumn::heading(const std::string& qualifier) const {
  return row->help + qualifier + (key.bins > 0 ? " (" + std::to_string(key.bins) + " bins)" : "");
}

std::vector<MetricColumn> metric_columns(const std::vector<int>& bins) {
  std::vector<MetricColumn> columns;
  for (const auto& row : metric_registry().rows())
    if (!row.binned) columns.push_back({&row, {row.name}});
  for (const int count : bins)
    for (const auto& row : metric_registry().rows())
      if (row.binned) columns.push_back({&row, {row.name, count}});
  return columns;
}

const MetricColumn* find_metric_column(const std::string& name) {
  static const std::vector<MetricColumn> columns = metric_columns(kReportedBins);
  const auto found = std::ranges::find(columns, name, &MetricColumn::name);
  return found == columns.end() ? nullptr : &*found;
}

}  // namespace ekd

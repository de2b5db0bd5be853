#include "ekd/study/report.h"

#include <ATen/TensorOperators.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <set>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/strict_json.h"
#include "ekd/core/text.h"
#include "ekd/evaluate/predictions.h"
#include "ekd/metrics/evaluate.h"
#include "ekd/metrics/registry.h"
#include "ekd/metrics/statistics.h"
#include "ekd/metrics/temperature.h"
#include "ekd/runs/run_dir.h"
#include "study/report_runs.h"

namespace ekd {
namespace {

constexpr double kPaperImages = 10'000;  // CIFAR-100's test set

double square(double value) { return value * value; }

// The mean over seeds of what every seed knows.
ReportValue over_seeds(const std::vector<std::optional<double>>& values) {
  std::vector<double> numbers;
  for (const auto& value : values)
    if (value) numbers.push_back(*value);
  if (numbers.empty() || numbers.size() < values.size()) return {};
  const Summary summary = summarise(numbers);
  return {summary.mean, summary.std, std::nullopt, std::nullopt};
}

// What all runs said about the same test images, or nothing.
std::vector<Predictions> test_predictions_of(const std::vector<FinishedRun>& runs) {
  std::vector<Predictions> all;
  for (const auto& run : runs) {
    auto predictions = test_predictions(run);
    if (!predictions) return {};
    all.push_back(*std::move(predictions));
  }
  return same_images(runs, all) ? all : std::vector<Predictions>{};
}

// What all runs said about their validation images, or nothing.
std::vector<Predictions> validation_predictions_of(const std::vector<FinishedRun>& runs) {
  std::vector<Predictions> all;
  for (const auto& run : runs) {
    const auto path = RunFiles(run.folder).val_predictions();
    if (!path_exists(path)) return {};
    all.push_back(load_predictions(path));
  }
  return all;
}

// Standard deviations over test images: of our mean over seeds, and of one network.
struct Sampling {
  double ours = 0, single = 0;
};

// One row of a report: the finished seeds of one name, at least one, to means, spreads, intervals and the comparison
// with the paper. Where all runs hold predictions.safetensors the row has intervals and floors, where all hold
// predictions-val.safetensors, too, the columns after temperature scaling. Throws WeightsError where a file is damaged.
class RowMaker {
 public:
  RowMaker(const std::string& name, const std::vector<FinishedRun>& runs) : runs_(runs) {
    row_.name = name;
    for (const auto& run : runs) row_.seeds.push_back(run.seed);
  }

  ReportRow make(const PublishedNumbers& paper) {
    for (const auto& column : report_columns()) row_.values[column.name] = {};
    for (const auto& column : metric_columns(kReportedBins)) {
      std::vector<std::optional<double>> values;
      for (const auto& run : runs_) values.push_back(run.metrics.find(column.key));
      row_.values[column.name()] = over_seeds(values);
    }
    const auto predictions = test_predictions_of(runs_);
    if (!predictions.empty()) {
      resample(predictions);
      scale(predictions);
    }
    if (paper) compare(*paper);
    return std::move(row_);
  }

 private:
  void resample(const std::vector<Predictions>& predictions) {
    std::vector<Top1> members;
    std::map<std::string, std::vector<double>> means;  // of each image over the members
    for (const auto& one : predictions) {
      const at::Tensor logits = scaled_logits(one.logits);
      members.push_back(top1_of_logits(logits, one.labels));
      for (const auto& [column, scores] : image_scores(logits, one.labels)) {
        auto& mean = means[column];
        mean.resize(scores.size());
        for (std::size_t i = 0; i < scores.size(); ++i) mean[i] += scores[i] / static_cast<double>(predictions.size());
      }
    }
    images_ = static_cast<double>(members[0].size());
    add_means(means);
    for (const auto& [metric, spread] : bootstrap_calibration(members, kReportedBins))
      set_interval(column_name(metric), spread.mean, spread.member_std);
    for (const auto& [metric, floor] : calibration_floor(members, kReportedBins)) {
      if (!metric_registry().at(metric.metric).floored) continue;
      const Summary summary = summarise(floor.members);
      row_.values[column_name(metric) + "_floor"] = {summary.mean, summary.std, floor.low, floor.high};
    }
  }

  void add_means(const std::map<std::string, std::vector<double>>& means) {
    std::vector<std::string> columns;
    std::vector<std::vector<double>> values;
    for (const auto& [column, of_images] : means) {
      const auto finite = [](double value) { return std::isfinite(value); };
      if (!std::ranges::all_of(of_images, finite)) continue;  // an NLL of infinity has no interval
      columns.push_back(column);
      values.push_back(of_images);
    }
    const auto spreads = bootstrap_means(values);
    for (std::size_t i = 0; i < columns.size(); ++i) set_interval(columns[i], spreads[i], spreads[i].std);
  }

  void set_interval(const std::string& column, const Spread& spread, double single_std) {
    row_.values[column].low = spread.low;
    row_.values[column].high = spread.high;
    sampling_[column] = {spread.std, single_std};
  }

  void scale(const std::vector<Predictions>& test) {
    const auto held_out = validation_predictions_of(runs_);
    std::map<std::string, std::vector<std::optional<double>>> values;
    for (std::size_t i = 0; i < held_out.size(); ++i) {
      const TemperatureFit fitted = fit_temperature(held_out[i].logits, held_out[i].labels);
      const double temperature = fitted.temperature;
      if (const auto warning = bound_warning(fitted); !warning.empty())
        spdlog::warn("{}: {}", runs_[i].folder.string(), warning);
      const Metrics scaled = compute_metrics(scaled_logits(test[i].logits, temperature), test[i].labels, kReportedBins);
      values["temperature"].emplace_back(temperature);
      for (const auto& column : metric_columns(kReportedBins))
        if (column.row->scaled) values[column.name() + "_scaled"].push_back(scaled.find(column.key));
    }
    for (const auto& [column, of_seeds] : values) row_.values[column] = over_seeds(of_seeds);
  }

  void compare(const std::map<std::string, double>& paper) {
    row_.has_paper = true;
    for (const auto& [column, published] : paper) {
      const ReportValue& ours = row_.values[column];
      if (!ours.mean) continue;
      const DifferenceSpread found = spread(column, ours, published);
      PublishedValue& value = row_.paper[column] = {published, *ours.mean - published, std::nullopt, found.degrees};
      if (!std::isnan(found.sigma)) value.sigma = found.sigma;
    }
  }

  // The formula of report.h; σ is NaN where it is not known.
  DifferenceSpread spread(const std::string& column, const ReportValue& ours, double published) const {
    const auto found = sampling_.find(column);
    const bool resampled = found != sampling_.end(), binomial = column == "accuracy";
    const double images = resampled ? images_ : static_cast<double>(runs_[0].metrics.n);
    if (!resampled && (!binomial || images == 0)) return {std::numeric_limits<double>::quiet_NaN()};
    const auto binomial_variance = [](double share, double n) { return share * (1 - share) / n; };
    // Variances over test images: of our mean, of one of our networks, of the published network.
    const double single = binomial ? binomial_variance(*ours.mean, images) : square(found->second.single);
    const double mean = resampled ? square(found->second.ours) : single;
    const double theirs = binomial ? binomial_variance(published, kPaperImages) : single * images / kPaperImages;
    const auto n = static_cast<double>(runs_.size());
    if (!ours.std) return {std::sqrt(mean + theirs)};
    // What images do to one seed alone: none is known of without predictions.
    const double alike = resampled ? std::clamp((n * mean - single) / (n - 1), 0.0, mean) : mean;
    const double own = resampled ? std::max(single - alike, 0.0) : 0;
    const double known = alike + std::max(theirs - own * images / kPaperImages, 0.0);
    return spread_of_sum(known, (1 / n + 1) * std::max(square(*ours.std), own), n - 1);
  }

  const std::vector<FinishedRun>& runs_;
  ReportRow row_;
  double images_ = 0;
  std::map<std::string, Sampling> sampling_;
};

std::vector<RowFolders> folders_of(const ReportRequest& request) {
  if (request.runs.empty()) throw UsageError("nothing to report; give run folders, or a plan");
  if (!is_plan(request)) return rows_of_runs(request.runs);
  if (request.runs.size() > 1)
    throw UsageError("--out goes with one plan, not with " + std::to_string(request.runs.size()) + " arguments");
  return rows_of_plan(request.runs.front(), out_of_plan(request));
}

void warn_of_repeated_seeds(const ReportRow& row) {
  const std::set<std::int64_t> seeds(row.seeds.begin(), row.seeds.end());
  if (seeds.size() < row.seeds.size())
    spdlog::warn("{}: seeds are repeated, so its std says less than it seems to", row.name);
}

}  // namespace

bool is_plan(const ReportRequest& request) {
  const bool alone = request.runs.size() == 1 && request.runs[0].ends_with(".json");
  return !request.out.empty() || (alone && !is_folder(request.runs[0]));
}

std::string out_of_plan(const ReportRequest& request) {
  return request.out.empty() ? default_plan_out(request.runs.at(0)).string() : request.out;
}

std::vector<Field> report_fields(ReportRequest& request) {
  return {
      {"report.out", &request.out, {}, "--out", "folder of the plan's runs; empty: runs/ and the plan's name"},
      {"report.compare", &request.compare, {}, "--compare", "instead of results the settings in which the runs differ"},
      {"report.orderings",
       &request.orderings,
       {},
       "--orderings",
       "instead of results which row is better: the plan's claims, or the first of some runs against the others"},
      {"report.columns",
       &request.columns,
       {},
       "--columns",
       "columns by commas, each also as NAME_interval; csv and json: all unless given"},
      {"report.paper",
       &request.paper,
       {},
       "--no-paper",
       "the plan's published numbers beside; turn it off where the setting is another"},
      {"report.format", &request.format, one_of({"text", "markdown", "latex", "csv", "json"}), "--format",
       "of what is printed"}};
}

std::vector<ReportRow> make_report(const ReportRequest& request) {
  std::vector<ReportRow> rows;
  std::vector<std::string> unfinished, others;
  for (const auto& [name, paper, folders] : folders_of(request)) {
    std::vector<FinishedRun> runs;
    for (const auto& folder : folders) {
      if (run_state(folder) == RunState::kFinished) {
        runs.push_back(read_finished_run(folder));
      } else {
        unfinished.push_back(request.out.empty() ? folder.string() : folder.filename().string());
      }
    }
    if (runs.empty()) continue;
    const bool other_data = paper && request.paper && std::ranges::any_of(runs, differs_from_the_papers_data);
    if (other_data) others.push_back(name);
    rows.push_back(RowMaker(name, runs).make(other_data ? std::nullopt : paper));
    warn_of_repeated_seeds(rows.back());
  }
  if (rows.empty()) throw UsageError("nothing has finished: no result.json in " + join(unfinished));
  if (!unfinished.empty()) spdlog::warn("not finished, left out: {}", join(unfinished));
  if (!others.empty())
    spdlog::warn("not of the paper's data (CIFAR-100, all images and classes), so without its numbers: {}",
                 join(others));
  return rows;
}

std::vector<ConfigRow> run_settings(const ReportRequest& request) {
  std::vector<ConfigRow> rows;
  for (const auto& [name, paper, folders] : folders_of(request)) {
    for (const auto& folder : folders) {
      const auto path = RunFiles(folder).config();
      if (!path_exists(path)) continue;
      const bool ambiguous = name.find('/') != std::string::npos;
      rows.push_back({ambiguous ? folder.string() : folder.filename().string(), flat_settings(read_own_json(path))});
    }
  }
  if (rows.empty()) throw UsageError("nothing to compare: no config.json in what was given");
  return rows;
}

}  // namespace ekd

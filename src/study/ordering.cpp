#include "ekd/study/ordering.h"

#include <spdlog/fmt/fmt.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "ekd/core/error.h"
#include "ekd/core/text.h"
#include "ekd/metrics/evaluate.h"
#include "ekd/metrics/registry.h"
#include "ekd/metrics/statistics.h"
#include "ekd/runs/run_dir.h"
#include "ekd/study/plan.h"
#include "ekd/train/finished_run.h"
#include "study/report_runs.h"

namespace ekd {
namespace {

// A run, and what resampling its test images and simulating hits say of each metric; nothing without predictions.
struct ResampledRun {
  FinishedRun run;
  std::optional<Predictions> predictions;
  std::map<MetricKey, std::vector<double>> rounds;
  std::map<MetricKey, double> floors;  // of the metrics that have one
};

void resample(ResampledRun& entry) {
  const at::Tensor logits = scaled_logits(entry.predictions->logits), &labels = entry.predictions->labels;
  const std::vector<Top1> answers{top1_of_logits(logits, labels)};
  entry.rounds = resampled_calibration(answers, kReportedBins);
  for (const auto& [metric, scores] : image_scores(logits, labels))
    entry.rounds[{metric}] = resampled_means({scores}).front();
  for (const auto& [metric, floor] : calibration_floor(answers, kReportedBins))
    entry.floors[metric] = floor.members.front();
}

// The finished seeds of every row, each read and resampled once.
class Rows {
 public:
  explicit Rows(const std::vector<RowFolders>& rows) {
    for (const auto& row : rows) {
      published_[row.name] = row.paper;
      for (const auto& folder : row.folders) {
        if (run_state(folder) != RunState::kFinished) continue;
        ResampledRun entry{read_finished_run(folder), std::nullopt, {}, {}};
        entry.predictions = test_predictions(entry.run);
        if (entry.predictions) resample(entry);
        runs_[row.name].emplace(entry.run.seed, std::move(entry));
      }
    }
  }

  const std::map<std::int64_t, ResampledRun>& seeds_of(const std::string& name) { return runs_[name]; }

  std::optional<double> published(const std::string& name, const std::string& metric) const {
    const PublishedNumbers& paper = published_.at(name);
    if (!paper || !paper->contains(metric)) return std::nullopt;
    return paper->at(metric);
  }

 private:
  std::map<std::string, std::map<std::int64_t, ResampledRun>> runs_;
  std::map<std::string, PublishedNumbers> published_;
};

using RunPair = std::pair<const ResampledRun*, const ResampledRun*>;

std::vector<RunPair> pairs_of(Rows& rows, const PlanOrdering& ordering) {
  std::vector<RunPair> pairs;
  const auto& others = rows.seeds_of(ordering.than);
  for (const auto& [seed, run] : rows.seeds_of(ordering.better))
    if (const auto other = others.find(seed); other != others.end()) pairs.emplace_back(&run, &other->second);
  return pairs;
}

// Whether both runs of every pair were asked about the same images.
bool comparable(const std::vector<RunPair>& pairs) {
  return std::ranges::all_of(pairs, [](const RunPair& pair) {
    const auto& [better, than] = pair;
    return better->predictions && than->predictions &&
           same_images({better->run, than->run}, {*better->predictions, *than->predictions});
  });
}

// Each pair's difference in every round.
std::vector<std::vector<double>> resampled_differences(const std::vector<RunPair>& pairs, const MetricKey& metric) {
  std::vector<std::vector<double>> differences;
  for (const auto& [better, than] : pairs) {
    const auto &a = better->rounds.at(metric), &b = than->rounds.at(metric);
    std::vector<double>& difference = differences.emplace_back(a);
    for (std::size_t round = 0; round < a.size(); ++round) difference[round] -= b[round];
  }
  return differences;
}

// What the difference would be, on average, if every network were perfectly calibrated.
std::optional<double> floor_of(const std::vector<RunPair>& pairs, const MetricKey& metric) {
  if (!pairs.front().first->floors.contains(metric)) return std::nullopt;
  double floor = 0;
  for (const auto& [better, than] : pairs) floor += better->floors.at(metric) - than->floors.at(metric);
  return floor / static_cast<double>(pairs.size());
}

CheckedOrdering check(const PlanOrdering& claim, const std::vector<RunPair>& pairs, const Rows& rows) {
  CheckedOrdering checked{claim.better, claim.than, claim.metric, pairs.size(), {}, {}, {}, {}, {}};
  const auto ours = rows.published(claim.better, claim.metric), theirs = rows.published(claim.than, claim.metric);
  if (ours && theirs) checked.published = *ours - *theirs;
  const MetricKey& metric = find_metric_column(claim.metric)->key;
  std::vector<double> differences;
  for (const auto& [better, than] : pairs) {
    const auto a = better->run.metrics.find(metric), b = than->run.metrics.find(metric);
    if (!a || !b) return checked;
    differences.push_back(*a - *b);
  }
  checked.difference = summarise(differences).mean;
  if (!comparable(pairs)) return checked;
  const DifferenceSpread spread = difference_spread(differences, resampled_differences(pairs, metric));
  if (!std::isfinite(spread.sigma)) return checked;  // an NLL of infinity has no spread
  checked.sigma = spread.sigma;
  checked.margin = spread.margin();
  checked.floor = floor_of(pairs, metric);
  return checked;
}

std::vector<CheckedOrdering> check_all(const std::vector<PlanOrdering>& claims, Rows rows, const std::string& where) {
  std::vector<CheckedOrdering> checked;
  std::vector<std::string> missing;
  for (const auto& claim : claims) {
    const auto pairs = pairs_of(rows, claim);
    if (!pairs.empty()) {
      checked.push_back(check(claim, pairs, rows));
      continue;
    }
    for (const auto& name : {claim.better, claim.than})
      if (rows.seeds_of(name).empty() && std::ranges::find(missing, name) == missing.end()) missing.push_back(name);
  }
  if (checked.empty()) throw UsageError("no two rows to compare have finished" + where);
  if (!missing.empty()) spdlog::warn("not finished, their orderings are left out: {}", join(missing));
  return checked;
}

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

std::vector<CheckedOrdering> check_first_run(const std::vector<std::string>& runs) {
  const auto rows = rows_of_runs(runs);
  if (rows.size() < 2) throw UsageError("--orderings compares the first of several rows with the others; here is one");
  std::vector<PlanOrdering> claims;
  for (std::size_t i = 1; i < rows.size(); ++i)
    for (const auto& metric : ordered_metrics()) claims.push_back({rows[0].name, rows[i].name, metric});
  return check_all(claims, Rows(rows), "");
}

std::vector<CheckedOrdering> check_orderings(const std::string& plan, const std::string& out) {
  const auto claims = read_plan(plan).orderings;
  if (claims.empty()) throw UsageError(plan + ": claims no orderings ('orderings', docs/plans.md)");
  return check_all(claims, Rows(rows_of_plan(plan, out)), " in " + out);
}

}  // namespace ekd

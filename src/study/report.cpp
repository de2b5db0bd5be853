#include "ekd/study/report.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/strict_json.h"
#include "ekd/core/text.h"
#include "ekd/runs/run_dir.h"
#include "study/report_row.h"
#include "study/report_runs.h"

namespace ekd {
namespace {

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
    rows.push_back(make_row(name, runs, other_data ? std::nullopt : paper));
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

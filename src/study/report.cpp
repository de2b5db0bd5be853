#include "ekd/study/report.h"

#include <spdlog/spdlog.h>

#include <filesystem>
#include <set>

#include "ekd/core/error.h"
#include "ekd/core/strict_json.h"
#include "ekd/core/text.h"
#include "ekd/runs/run_dir.h"
#include "study/report_row.h"
#include "study/report_runs.h"

namespace ekd {
namespace {

std::vector<RowFolders> folders_of(const ReportRequest& request) {
  if (request.runs.empty())
    throw UsageError("nothing to report; give run folders, or a plan and --out DIR, the folder of its runs");
  if (request.out.empty()) return rows_of_runs(request.runs);
  if (request.runs.size() > 1)
    throw UsageError("--out goes with one plan, not with " + std::to_string(request.runs.size()) + " arguments");
  return rows_of_plan(request.runs.front(), request.out);
}

void warn_of_repeated_seeds(const ReportRow& row) {
  const std::set<std::int64_t> seeds(row.seeds.begin(), row.seeds.end());
  if (seeds.size() < row.seeds.size())
    spdlog::warn("{}: seeds are repeated, so its std says less than it seems to", row.name);
}

void flatten(const nlohmann::json& value, const std::string& key, std::map<std::string, std::string>& settings) {
  if (!value.is_object()) {
    settings[key] = value.is_string() ? value.get<std::string>() : value.dump();
    return;
  }
  for (const auto& [name, part] : value.items()) flatten(part, key.empty() ? name : key + "." + name, settings);
}

}  // namespace

std::vector<Field> report_fields(ReportRequest& request) {
  return {
      {"report.out", &request.out, {}, "--out", "folder of the plan's runs"},
      {"report.compare", &request.compare, {}, "--compare", "instead of results the settings in which the runs differ"},
      {"report.orderings",
       &request.orderings,
       {},
       "--orderings",
       "instead of results whether the orderings the plan claims hold"},
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
  std::vector<std::string> unfinished;
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
    rows.push_back(make_row(name, runs, paper));
    warn_of_repeated_seeds(rows.back());
  }
  if (rows.empty()) throw UsageError("nothing has finished: no result.json in " + join(unfinished));
  if (!unfinished.empty()) spdlog::warn("not finished, left out: {}", join(unfinished));
  return rows;
}

std::vector<ConfigRow> run_settings(const ReportRequest& request) {
  std::vector<ConfigRow> rows;
  for (const auto& [name, paper, folders] : folders_of(request)) {
    for (const auto& folder : folders) {
      const auto path = RunFiles(folder).config();
      if (!std::filesystem::exists(path)) continue;
      const bool ambiguous = name.find('/') != std::string::npos;
      rows.push_back({ambiguous ? folder.string() : folder.filename().string(), {}});
      flatten(read_own_json(path), "", rows.back().settings);
    }
  }
  if (rows.empty()) throw UsageError("nothing to compare: no config.json in what was given");
  return rows;
}

}  // namespace ekd

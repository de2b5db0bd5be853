// `ekd report`: run folders or a plan to a table, in the format that is asked for.
#include <cstdio>
#include <map>
#include <memory>

#include "commands/settings.h"
#include "ekd/commands/command.h"
#include "ekd/core/error.h"
#include "ekd/core/strict_json.h"
#include "ekd/study/ordering.h"
#include "ekd/study/report.h"

namespace ekd {
namespace {

struct ReportOptions {
  std::unique_ptr<Settings> settings;
  ReportRequest request;
  bool json = false;
};

const std::map<std::string, TableFormat> kTables{{"text", TableFormat::kText},
                                                 {"markdown", TableFormat::kMarkdown},
                                                 {"latex", TableFormat::kLatex},
                                                 {"csv", TableFormat::kCsv}};

nlohmann::ordered_json settings_json(const std::vector<std::vector<std::string>>& cells) {
  nlohmann::ordered_json runs = nlohmann::ordered_json::array();
  for (std::size_t row = 1; row < cells.size(); ++row) {
    nlohmann::ordered_json settings = nlohmann::ordered_json::object();
    for (std::size_t i = 1; i < cells[row].size(); ++i) settings[cells[0][i]] = cells[row][i];
    runs.push_back({{"name", cells[row][0]}, {"settings", settings}});
  }
  return {{"runs", runs}};
}

void check(const ReportRequest& request) {
  if (request.compare && request.orderings) throw UsageError("--orderings and --compare exclude each other");
  if (!request.columns.empty() && request.orderings) throw UsageError("--columns and --orderings exclude each other");
}

std::string report(const ReportRequest& request) {
  const bool json = request.format == "json";
  if (request.compare) {
    const auto cells = differing_settings(run_settings(request));
    if (json) return json_text(settings_json(cells)) + '\n';
    return format_table(cells, kTables.at(request.format));
  }
  if (request.orderings) {
    if (is_plan(request) && request.runs.size() != 1) throw UsageError("--orderings needs one plan, or run folders");
    const auto checked =
        is_plan(request) ? check_orderings(request.runs.front(), out_of_plan(request)) : check_first_run(request.runs);
    return json ? json_text(orderings_json(checked)) + '\n' : orderings_table(checked, kTables.at(request.format));
  }
  const auto columns = choose_columns(request.columns, json || request.format == "csv");
  auto rows = make_report(request);
  if (!request.paper)
    for (auto& row : rows) row.drop_paper();
  return json ? json_text(report_json(rows, columns)) + '\n' : report_table(rows, columns, kTables.at(request.format));
}

int run(ReportOptions& options) {
  ReportRequest& request = options.request;
  const auto fields = report_fields(request);
  const auto given = options.settings->apply(fields);
  if (options.json && given.contains("report.format")) throw UsageError("--json and --format exclude each other");
  if (options.json) request.format = "json";
  if (options.settings->printed(fields)) return 0;
  check(request);
  std::printf("%s", report(request).c_str());
  return 0;
}

}  // namespace

CommandRow add_report_command(CLI::App& root, GlobalOptions& global) {
  CLI::App* app = root.add_subcommand(
      "report", "Tables of finished runs: mean and std over seeds, intervals, beside the paper's numbers");
  auto options = std::make_shared<ReportOptions>();
  app->add_option("RUN_OR_PLAN", options->request.runs,
                  "run folders, of which those that differ in -sN only are seeds of one row; or a plan");
  options->settings = std::make_unique<Settings>(*app, report_fields(options->request));
  app->add_flag("--json", options->json, "the same as --format json")->group("Output");
  add_output_options(*app, global);
  return {app, [app, options] {
            apply_environment(*app, options->settings->option_names());
            return run(*options);
          }};
}

}  // namespace ekd

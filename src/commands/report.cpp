// `ekd report`: run folders or a plan to a table, in the format that is asked for.
#include <cstdio>
#include <map>
#include <memory>

#include "ekd/commands/command.h"
#include "ekd/commands/environment.h"
#include "ekd/core/error.h"
#include "ekd/engine/ordering.h"
#include "ekd/engine/report.h"

namespace ekd {
namespace {

struct ReportOptions {
  ReportRequest request;
  std::string format = "text", columns;
  bool json = false, compare = false, orderings = false, no_paper = false;
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

std::string report(const ReportOptions& options) {
  const bool json = options.json || options.format == "json";
  if (options.compare) {
    auto cells = differing_settings(run_settings(options.request));
    if (json) return settings_json(cells).dump() + '\n';
    return format_table(cells, kTables.at(options.format));
  }
  if (options.orderings) {
    if (options.request.runs.size() != 1 || options.request.out.empty())
      throw UsageError("--orderings needs one plan and --out DIR, the folder of its runs");
    const auto checked = check_orderings(options.request.runs.front(), options.request.out);
    return json ? orderings_json(checked).dump() + '\n' : orderings_table(checked, kTables.at(options.format));
  }
  const auto columns = choose_columns(options.columns, json || options.format == "csv");
  auto rows = make_report(options.request);
  if (options.no_paper)
    for (auto& row : rows) row.drop_paper();
  return json ? report_json(rows, columns).dump() + '\n' : report_table(rows, columns, kTables.at(options.format));
}

}  // namespace

CommandRow add_report_command(CLI::App& root, GlobalOptions& global) {
  CLI::App* app = root.add_subcommand(
      "report", "Tables of finished runs: mean and std over seeds, intervals, beside the paper's numbers");
  auto options = std::make_shared<ReportOptions>();
  app->add_option("RUN_OR_PLAN", options->request.runs,
                  "run folders, of which those that differ in -sN only are seeds of one row; or a plan with --out");
  app->add_option("--out", options->request.out, "folder of the plan's runs")->type_name("DIR")->group("Rows");
  CLI::Option* compare =
      app->add_flag("--compare", options->compare, "instead of results the settings in which the runs differ")
          ->group("Rows");
  CLI::Option* orderings =
      app->add_flag("--orderings", options->orderings, "instead of results whether the orderings the plan claims hold")
          ->excludes(compare)
          ->group("Rows");
  app->add_option("--columns", options->columns,
                  "columns by commas, each also as NAME_interval; csv and json: all unless given")
      ->type_name("LIST")
      ->excludes(orderings)
      ->group("Columns");
  app->add_flag("--no-paper", options->no_paper, "without the plan's published numbers, where the setting is another")
      ->group("Columns");
  CLI::Option* format = app->add_option("--format", options->format, "text, markdown, latex, csv or json")
                            ->capture_default_str()
                            ->check(member_of({"text", "markdown", "latex", "csv", "json"}))
                            ->group("Output");
  app->add_flag("--json", options->json, "the same as --format json")->excludes(format)->group("Output");
  add_output_options(*app, global);
  return {app, [app, options] {
            apply_environment(*app);
            std::printf("%s", report(*options).c_str());
            return 0;
          }};
}

}  // namespace ekd

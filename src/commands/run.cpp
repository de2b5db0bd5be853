// `ekd run`: a plan of many runs and evaluations.
#include <spdlog/spdlog.h>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "commands/settings.h"
#include "ekd/commands/command.h"
#include "ekd/core/device.h"
#include "ekd/core/error.h"
#include "ekd/core/signals.h"
#include "ekd/core/strict_json.h"
#include "ekd/runs/table_format.h"
#include "ekd/settings/config.h"
#include "ekd/settings/config_io.h"
#include "ekd/study/plan_runner.h"

namespace ekd {
namespace {

struct RunOptions {
  std::unique_ptr<Settings> settings;
  PlanSettings how;
  std::string plan, progress = "auto";
  bool dry_run = false, status = false, json = false;
  Config config = default_config(Command::kDistill);  // holds what is given for the runs; the command with all keys
};

// The plan's, and every setting of a run: what is given goes to the runs that know the key. A few of these have flags.
std::vector<Field> all_fields(RunOptions& options) {
  std::vector<Field> fields = plan_fields(options.how);
  for (auto& field : config_fields(options.config, Command::kDistill)) {
    static const std::set<std::string> kFlags{"--dataset", "--data", "--device", "--precision", "--threads"};
    if (!kFlags.contains(field.flag)) field.flag.clear();
    fields.push_back(std::move(field));
  }
  return fields;
}

bool is_of_plan(const std::string& key) { return key.starts_with("plan."); }

// "90s", "25m", "2h" or seconds.
double parse_budget(const std::string& text) {
  double number = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, number);
  const std::string unit(parsed.ptr, end);
  const std::map<std::string, double> seconds{{"", 1}, {"s", 1}, {"m", 60}, {"h", 3600}};
  if (parsed.ec != std::errc{} || !seconds.contains(unit) || !std::isfinite(number) || number <= 0)
    throw UsageError("--budget: takes a time above 0 such as 90s, 25m or 2h, not '" + text + "'");
  return number * seconds.at(unit);
}

// "2/8": the second of eight shares.
void parse_share(const std::string& text, PlanRequest& request) {
  const char* end = text.data() + text.size();
  std::int64_t share = 0, shares = 0;
  const auto first = std::from_chars(text.data(), end, share);
  const bool divided = first.ec == std::errc{} && first.ptr != end && *first.ptr == '/';
  const auto second = divided ? std::from_chars(first.ptr + 1, end, shares) : first;
  if (!divided || second.ec != std::errc{} || second.ptr != end || share < 1 || shares < share)
    throw UsageError("--share: takes I/N with 1 <= I <= N, not '" + text + "'");
  request.share = share - 1;
  request.shares = shares;
}

// A GPU that one training leaves half idle does more for several; a CPU's cores would have to be divided.
int jobs_at_a_time(const RunOptions& options) {
  if (options.how.jobs != "auto") return std::stoi(options.how.jobs);
  return options.config.run.device != "cpu" && cuda_unavailable_reason().empty() ? kMeasured : 1;
}

// "--only a,b --only c"
std::vector<std::string> split_at_commas(const std::vector<std::string>& texts) {
  std::vector<std::string> names;
  for (const auto& text : texts) {
    std::istringstream parts(text);
    for (std::string name; std::getline(parts, name, ',');) names.push_back(name);
  }
  return names;
}

PlanRequest make_request(const RunOptions& options, const GlobalOptions& global) {
  PlanRequest request{.plan = read_plan(options.plan),
                      .out = options.how.out,
                      .only = split_at_commas(options.how.only),
                      .group_size = options.how.group_size,
                      .jobs = jobs_at_a_time(options),
                      .progress = resolve_progress(options.progress),
                      .command_line = global.command_line,
                      .anew = options.how.anew,
                      .as_made = options.status};
  if (request.out.empty()) request.out = default_plan_out(options.plan);
  if (options.how.seeds > 0) {
    request.plan.seeds.clear();
    for (std::int64_t seed = 0; seed < options.how.seeds; ++seed) request.plan.seeds.push_back(seed);
  }
  if (!options.how.share.empty()) parse_share(options.how.share, request);
  if (!options.how.budget.empty()) parse_budget(options.how.budget);
  return request;
}

void print_status(const std::vector<RowStatus>& rows, bool json) {
  for (const auto& row : rows)
    if (!row.why.empty()) spdlog::warn("{}-s{} is not what the plan says: {}", row.name, row.seed, row.why);
  if (json) {
    nlohmann::ordered_json runs = nlohmann::ordered_json::array();
    for (const auto& row : rows)
      runs.push_back({{"name", row.name},
                      {"seed", row.seed},
                      {"state", row_state_name(row.state)},
                      {"epoch", row.epoch},
                      {"epochs", row.epochs}});
    std::printf("%s\n", json_text(nlohmann::ordered_json{{"runs", runs}}).c_str());
    return;
  }
  std::vector<std::vector<std::string>> cells{{"row", "seed", "state", "epochs", "left"}};
  for (const auto& row : rows) {
    const std::string epochs = row.epochs > 0 ? std::to_string(row.epoch) + "/" + std::to_string(row.epochs) : "-";
    const std::string left = row.state == RowState::kDone   ? "-"
                             : std::isnan(row.seconds_left) ? "?"
                                                            : duration_text(row.seconds_left);
    cells.push_back({row.name, std::to_string(row.seed), row_state_name(row.state), epochs, left});
  }
  std::printf("%s", format_table(cells, TableFormat::kText).c_str());
}

// What a dry run shows: the rows that are not done.
std::vector<RowStatus> not_done(std::vector<RowStatus> rows) {
  std::erase_if(rows, [](const RowStatus& row) { return row.state == RowState::kDone; });
  return rows;
}

int run(RunOptions& options, const GlobalOptions& global) {
  auto fields = all_fields(options);
  const auto given = options.settings->apply(fields);
  std::erase_if(fields, [&](const Field& field) { return !is_of_plan(field.key) && !given.contains(field.key); });
  if (options.settings->printed(fields)) return 0;
  PlanRequest request = make_request(options, global);
  for (const auto& field : fields)
    if (!is_of_plan(field.key)) request.overrides[field.key] = field_json(field);
  if (options.status) {
    print_status(plan_status(request), options.json);
    return 0;
  }
  if (options.dry_run) {
    print_status(not_done(plan_status(request)), options.json);
    return 0;
  }
  if (not_done(plan_status(request)).empty()) {
    spdlog::info("{}: nothing to do, every row is done", request.out.string());
    if (options.json) print_status(plan_status(request), true);
    return 0;
  }
  install_signal_handlers();
  if (!options.how.budget.empty()) {
    set_stop_deadline(std::chrono::steady_clock::now() +
                      std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                          std::chrono::duration<double>(parse_budget(options.how.budget))));
  }
  const PlanOutcome outcome = run_plan(request);
  const auto statuses = plan_status(request);
  spdlog::info("{}: {} rows made, {} left{}", request.out.string(), outcome.made, not_done(statuses).size(),
               outcome.stopped == kDeadline ? ", the budget is spent; the same command goes on" : "");
  print_status(statuses, options.json);
  return outcome.stopped > 0 ? stop_exit_code(outcome.stopped) : outcome.exit_code;
}

}  // namespace

CommandRow add_run_command(CLI::App& root, GlobalOptions& global) {
  CLI::App* app = root.add_subcommand("run", "Work through a plan of runs and evaluations; call it again to go on");
  auto options = std::make_shared<RunOptions>();
  app->add_option("PLAN", options->plan, "the plan, a JSON file")->required();
  options->settings = std::make_unique<Settings>(*app, all_fields(*options));
  app->add_flag("--dry-run", options->dry_run, "show what would run, and how long each has left")->group("Plan");
  app->add_flag("--status", options->status, "show where every row stands")->group("Plan");
  app->add_flag("--json", options->json, "print the status as one object on stdout")->group("Output");
  app->add_option("--progress", options->progress, "auto, bar, lines or none")
      ->check(member_of({"auto", "bar", "lines", "none"}))
      ->type_name("STYLE")
      ->group("Output");
  add_output_options(*app, global);
  return {app, [app, options, &global] {
            apply_environment(*app, options->settings->option_names());
            return run(*options, global);
          }};
}

}  // namespace ekd

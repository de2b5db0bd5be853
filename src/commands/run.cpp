// `ekd run`: a plan of many runs and evaluations.
#include <spdlog/spdlog.h>

#include <charconv>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "ekd/commands/command.h"
#include "ekd/commands/environment.h"
#include "ekd/core/error.h"
#include "ekd/core/signals.h"
#include "ekd/engine/plan_runner.h"
#include "ekd/run/table_format.h"

namespace ekd {
namespace {

struct RunOptions {
  std::string plan, out, budget, share, progress = "auto";
  std::vector<std::string> only, sets;
  std::map<std::string, std::string> flags;  // by key
  std::int64_t seeds = 0, group_size = 16;
  bool dry_run = false, status = false, json = false;
};

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

PlanRequest make_request(const RunOptions& options, const GlobalOptions& global) {
  PlanRequest request{.plan = read_plan(options.plan),
                      .out = options.out,
                      .only = options.only,
                      .group_size = options.group_size,
                      .progress = resolve_progress(options.progress),
                      .command_line = global.command_line};
  if (request.out.empty()) request.out = std::filesystem::path("runs") / std::filesystem::path(options.plan).stem();
  if (options.seeds > 0) {
    request.plan.seeds.clear();
    for (std::int64_t seed = 0; seed < options.seeds; ++seed) request.plan.seeds.push_back(seed);
  }
  for (const auto& [key, text] : options.flags)
    if (!text.empty()) request.overrides.emplace_back(key, text);
  for (const auto& text : options.sets) {
    const auto equals = text.find('=');
    if (equals == std::string::npos) throw UsageError("--set: takes key.path=value, not '" + text + "'");
    request.overrides.emplace_back(text.substr(0, equals), text.substr(equals + 1));
  }
  if (!options.share.empty()) parse_share(options.share, request);
  return request;
}

void print_status(const std::vector<RowStatus>& rows, bool json) {
  if (json) {
    nlohmann::ordered_json runs = nlohmann::ordered_json::array();
    for (const auto& row : rows)
      runs.push_back({{"name", row.name},
                      {"seed", row.seed},
                      {"state", row_state_name(row.state)},
                      {"epoch", row.epoch},
                      {"epochs", row.epochs}});
    std::printf("%s\n", nlohmann::ordered_json{{"runs", runs}}.dump().c_str());
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

int run(const RunOptions& options, const GlobalOptions& global) {
  const PlanRequest request = make_request(options, global);
  if (options.status) {
    print_status(plan_status(request), options.json);
    return 0;
  }
  const auto left = not_done(plan_status(request));
  if (options.dry_run) {
    print_status(left, options.json);
    return 0;
  }
  if (left.empty()) {
    spdlog::info("{}: nothing to do, every row is done", request.out.string());
    if (options.json) print_status(plan_status(request), true);
    return 0;
  }
  install_signal_handlers();
  if (!options.budget.empty()) {
    set_stop_deadline(std::chrono::steady_clock::now() +
                      std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                          std::chrono::duration<double>(parse_budget(options.budget))));
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
  app->add_option("--out", options->out, "runs land in OUT/NAME-sSEED (default: runs/ and the plan's name)")
      ->type_name("DIR")
      ->group("Plan");
  app->add_option("--only", options->only, "these rows and what they need; repeat or separate by commas")
      ->delimiter(',')
      ->take_all()
      ->type_name("NAME")
      ->group("Plan");
  app->add_option("--seeds", options->seeds, "seeds 0 to N-1 instead of the plan's")
      ->check(CLI::Range(1, 10'000))
      ->type_name("N")
      ->group("Plan");
  app->add_option("--budget", options->budget, "stop after this time with everything saved: 90s, 25m, 2h")
      ->type_name("TIME")
      ->group("Plan");
  app->add_option("--share", options->share, "the I-th of N shares of the rows, for job arrays")
      ->type_name("I/N")
      ->group("Plan");
  app->add_option("--group-size", options->group_size,
                  "most students trained together, on the same batches; 1: one after another (default: 16)")
      ->check(CLI::Range(1, 1000))
      ->type_name("N")
      ->group("Plan");
  app->add_flag("--dry-run", options->dry_run, "show what would run, and how long each has left")->group("Plan");
  app->add_flag("--status", options->status, "show where every row stands")->group("Plan");
  app->add_option("--set", options->sets, "key.path=value for every run that knows the key")
      ->expected(1)
      ->take_all()
      ->allow_extra_args(false)
      ->type_name("KEY=VALUE")
      ->group("Settings");
  const std::pair<const char*, const char*> flags[] = {{"--dataset", "data.dataset"},
                                                       {"--data", "data.dir"},
                                                       {"--device", "run.device"},
                                                       {"--precision", "run.precision"},
                                                       {"--threads", "run.threads"}};
  for (const auto& [flag, key] : flags)
    app->add_option(flag, options->flags[key], std::string("as --set ") + key + "=VALUE")
        ->type_name("VALUE")
        ->group("Settings");
  app->add_flag("--json", options->json, "print the status as one object on stdout")->group("Output");
  app->add_option("--progress", options->progress, "auto, bar, lines or none")
      ->check(member_of({"auto", "bar", "lines", "none"}))
      ->type_name("STYLE")
      ->group("Output");
  add_output_options(*app, global);
  return {app, [app, options, &global] {
            apply_environment(*app);
            return run(*options, global);
          }};
}

}  // namespace ekd

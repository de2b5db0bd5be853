#include "study/plan_rows.h"

#include <algorithm>
#include <map>
#include <set>

#include "ekd/core/error.h"
#include "ekd/core/text.h"
#include "ekd/runs/run_dir.h"
#include "ekd/runs/run_record.h"
#include "ekd/settings/config.h"
#include "ekd/settings/config_io.h"
#include "ekd/train/training_run.h"

namespace ekd {
namespace {

// --set goes to every run that knows the key; it has to be known to one command at least.
std::set<std::string> apply_override(const std::vector<Field>& fields, const std::string& key,
                                     const nlohmann::json& value) {
  Config scratch;
  const auto layer = layer_of(key, value);
  apply_json(config_fields(scratch, Command::kDistill), layer, "--set");
  const bool known = std::ranges::any_of(fields, [&](const Field& field) { return field.key == key; });
  return known ? apply_json(fields, layer, "--set") : std::set<std::string>();
}

// What was given over the plan when the row was made and is not given now.
void apply_recorded(const PlanRequest& request, const PlanRun& run, std::int64_t seed,
                    const std::vector<Field>& fields, std::set<std::string>& given) {
  const auto record = read_run_record(RunFiles(plan_folder(request.out, run.name, seed)).record());
  const auto overrides = record.value("overrides", nlohmann::json::object());
  if (!overrides.is_object()) return;
  for (const auto& [key, value] : overrides.items())
    if (!request.overrides.contains(key)) given.merge(apply_override(fields, key, value));
}

Config run_config(const PlanRequest& request, const PlanRun& run, std::int64_t seed) {
  Config config = default_config(run.command);
  const auto fields = config_fields(config, run.command);
  std::set<std::string> given;
  for (const auto& layer : run.layers)
    given.merge(apply_json(fields, layer, request.plan.path.string() + ": run '" + run.name + "'"));
  for (const auto& [key, value] : request.overrides) given.merge(apply_override(fields, key, value));
  if (request.as_made) apply_recorded(request, run, seed, fields, given);
  take_loss_defaults(config.distill, given);
  config.run.seed = seed;
  for (const auto& teacher : run.teachers)
    config.distill.teachers.push_back(teacher + "=" + plan_folder(request.out, teacher, seed).string());
  return config;
}

std::vector<PlanRow> all_rows(const PlanRequest& request) {
  std::vector<PlanRow> rows;
  for (const std::int64_t seed : request.plan.seeds) {
    std::map<std::string, std::size_t> index;
    const auto add = [&](PlanRow row, const std::vector<std::string>& needs) {
      row.folder = plan_folder(request.out, row.name, seed);
      for (const auto& name : needs) row.needs.push_back(index.at(name));
      index[row.name] = rows.size();
      rows.push_back(std::move(row));
    };
    for (const auto& run : request.plan.runs)
      add({.name = run.name, .seed = seed, .run = &run, .config = run_config(request, run, seed)}, run.teachers);
    for (const auto& evaluation : request.plan.evaluations) {
      std::vector<std::string> members;
      for (const auto& member : evaluation.members) members.push_back(member.run);
      add({.name = evaluation.name, .seed = seed, .evaluation = &evaluation}, members);
    }
  }
  return rows;
}

void check_only(const PlanRequest& request, const std::vector<PlanRow>& rows) {
  std::set<std::string> names;
  for (const auto& row : rows) names.insert(row.name);
  for (const auto& name : request.only) {
    if (!names.contains(name))
      throw UsageError("--only: '" + name + "' is no row of the plan; rows are " + join({names.begin(), names.end()}) +
                       did_you_mean(name, {names.begin(), names.end()}));
  }
}

// The wanted rows and, through `needs`, whatever they need.
std::set<std::size_t> selection(const PlanRequest& request, const std::vector<PlanRow>& rows) {
  std::set<std::size_t> selected;
  std::int64_t nth = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const bool named = request.only.empty() || std::ranges::find(request.only, rows[i].name) != request.only.end();
    if (named && nth++ % request.shares == request.share) selected.insert(i);
  }
  for (std::size_t i = rows.size(); i-- > 0;)  // needs stand before
    if (selected.contains(i)) selected.insert(rows[i].needs.begin(), rows[i].needs.end());
  return selected;
}

}  // namespace

std::vector<PlanRow> unroll_plan(const PlanRequest& request) {
  const std::vector<PlanRow> rows = all_rows(request);
  check_only(request, rows);
  std::map<std::size_t, std::size_t> new_index;
  std::vector<PlanRow> selected;
  for (const std::size_t i : selection(request, rows)) {
    new_index[i] = selected.size();
    selected.push_back(rows[i]);
    for (auto& need : selected.back().needs) need = new_index.at(need);
  }
  return selected;
}

}  // namespace ekd

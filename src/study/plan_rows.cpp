#include "study/plan_rows.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>
#include <string>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/sha256.h"
#include "ekd/core/strict_json.h"
#include "ekd/core/text.h"
#include "ekd/evaluate/model_file.h"
#include "ekd/runs/run_dir.h"
#include "ekd/runs/run_record.h"
#include "ekd/settings/config.h"
#include "ekd/settings/config_io.h"
#include "ekd/settings/stored_settings.h"
#include "ekd/train/finished_run.h"
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
void apply_recorded(const PlanRequest& request, const PlanRun& run, std::int64_t seed, const std::vector<Field>& fields,
                    std::set<std::string>& given) {
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
  for (std::size_t k = 0; k < run.teachers.size(); ++k) {
    const double weight = run.teacher_weights[k];
    config.distill.teachers.push_back(run.teachers[k] + "=" + plan_folder(request.out, run.teachers[k], seed).string() +
                                      (weight == 1 ? "" : fmt::format("@{}", weight)));
  }
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

// Throws UsageError where a row could not be made when its turn comes.
void check_settings(const PlanRequest& request, const std::vector<PlanRow>& rows) {
  for (const auto& row : rows) {
    const std::string where = request.plan.path.string() + ": '" + row.name + "': ";
    if (row.run != nullptr && row.run->command == Command::kDistill) {
      try {
        check_distillation(row.config);
      } catch (const UsageError& error) {
        throw UsageError(where + error.what());
      }
    }
    for (std::size_t k = 0; row.evaluation != nullptr && k < row.needs.size(); ++k)
      if (row.evaluation->members[k].averaged && rows[row.needs[k]].config.optim.ema == 0)
        throw UsageError(where + row.evaluation->members[k].run + ":ema has no averaged weights: optim.ema is 0");
  }
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

// The checksum of a run's result.json; empty where there is none. A small file: its folder is asked often.
std::string result_sum(const std::filesystem::path& run) {
  const auto path = RunFiles(run).result();
  return path_exists(path) ? sha256_hex(read_file(path)) : "";
}

// Whether a member of the evaluation has another result than when it was evaluated. Those that do not say are taken as
// they are.
bool members_moved_on(const PlanRow& row) {
  return std::ranges::any_of(stored_members(row.folder), [&](const StoredMember& member) {
    const std::string now = result_sum(row.folder.parent_path() / member.run);
    return !member.result_sha256.empty() && !now.empty() && member.result_sha256 != now;
  });
}

class Conflicts {
 public:
  explicit Conflicts(const std::vector<PlanRow>& rows) : rows_(rows), texts_(rows.size()) {}

  std::vector<std::string> find() {
    for (std::size_t i = 0; i < rows_.size(); ++i) texts_[i] = join(of(rows_[i]));
    return texts_;
  }

 private:
  std::vector<std::string> of(const PlanRow& row) {
    const RunFiles files(row.folder);
    if (row.evaluation != nullptr)
      return run_state(row.folder) == RunState::kFinished ? other_members(row) : std::vector<std::string>{};
    if (!path_exists(files.config())) return {};
    auto found = settings_in_the_way(row.config, row.folder, row.run->command);
    for (auto& text : other_teachers(row)) found.push_back(std::move(text));
    return found;
  }

  // Teachers by name, and what became of each since the student began.
  std::vector<std::string> other_teachers(const PlanRow& row) {
    const auto teachers = recorded_teachers(RunFiles(row.folder).record());
    if (row.run->teachers.empty() || teachers.empty()) return {};
    std::vector<std::string> names, found;
    for (const auto& teacher : teachers) names.push_back(teacher.name);
    if (names != row.run->teachers) return {"teachers (" + join(row.run->teachers) + ", was " + join(names) + ")"};
    if (!std::ranges::equal(teachers, row.run->teacher_weights, {}, &RecordedTeacher::weight))
      return {"the weights of its teachers"};
    for (std::size_t k = 0; k < row.needs.size(); ++k) {
      const std::size_t need = row.needs[k];
      const std::string name = rows_[need].folder.filename().string();
      if (!texts_[need].empty()) {
        found.push_back("its teacher " + name + " cannot go on");
      } else if (wants_more_epochs(rows_[need])) {
        found.push_back("its teacher " + name + " is to be trained for more epochs");
      } else if (run_state(rows_[need].folder) == RunState::kFinished &&
                 sum_of(rows_[need].folder) != teachers[k].sha256) {
        found.push_back("its teacher " + name + " has other weights by now");
      }
    }
    return found;
  }

  // The checksum of a teacher's weights; what is wrong with them where they cannot be read.
  std::string sum_of(const std::filesystem::path& folder) {
    auto [found, is_new] = sums_.try_emplace(folder);
    if (!is_new) return found->second;
    try {
      found->second = load_model({folder.string(), RunFiles(folder).last(), folder}).sha256;
    } catch (const Error& error) {
      found->second = error.what();
    }
    return found->second;
  }

  // An evaluation of other runs or weights than the plan's.
  static std::vector<std::string> other_members(const PlanRow& row) {
    const auto members = stored_members(row.folder);
    if (members.empty()) return {};
    const auto text = [](const std::string& run, const auto& member) {
      return fmt::format("{}{}@{:g}", run, member.averaged ? ":ema" : "", member.weight);
    };
    std::vector<std::string> now, before;
    for (const auto& member : row.evaluation->members)
      now.push_back(text(plan_folder("", member.run, row.seed).string(), member));
    for (const auto& member : members) before.push_back(text(member.run, member));
    if (now == before) return {};
    return {"members (" + join(now) + ", was " + join(before) + ")"};
  }

  const std::vector<PlanRow>& rows_;
  std::vector<std::string> texts_;  // of the rows so far; what a row needs stands before it
  std::map<std::filesystem::path, std::string> sums_;
};

// The js weight belongs to a learner's objective.
bool decides_batches(const std::string& key) {
  if (key == "augment.augmix_js_weight") return false;
  return key.starts_with("data.") || key.starts_with("augment.") || key.starts_with("run.") ||
         key == "optim.batch_size" || key == "optim.epochs";
}

std::string batch_settings(const PlanRow& row) {
  Config config = row.config;
  std::string text;
  for (const auto& field : config_fields(config, row.run->command))
    if (decides_batches(field.key)) text += field.key + "=" + json_text(field_json(field)) + "\n";
  return text;
}

bool share_a_teacher(const PlanRow& a, const PlanRow& b) {
  return std::ranges::find_first_of(a.needs, b.needs) != a.needs.end();
}

bool distils(const PlanRow& row) { return row.run != nullptr && row.run->command == Command::kDistill; }

}  // namespace

std::vector<PlanRow> unroll_plan(const PlanRequest& request) {
  const std::vector<PlanRow> rows = all_rows(request);
  check_only(request, rows);
  if (!request.as_made) check_settings(request, rows);
  std::map<std::size_t, std::size_t> new_index;
  std::vector<PlanRow> selected;
  for (const std::size_t i : selection(request, rows)) {
    new_index[i] = selected.size();
    selected.push_back(rows[i]);
    for (auto& need : selected.back().needs) need = new_index.at(need);
  }
  return selected;
}

std::vector<StoredMember> stored_members(const std::filesystem::path& evaluation) {
  const auto path = RunFiles(evaluation).result();
  const auto result = read_own_json(path);
  std::vector<StoredMember> members;
  try {
    for (const auto& member : result.value("members", nlohmann::json::array())) {
      const std::filesystem::path file = member.at("path").get<std::string>();
      members.push_back({file.parent_path().filename(), member.value("weight", 1.0),
                         file.filename() == RunFiles("").ema_predictions(), member.value("result_sha256", "")});
    }
  } catch (const nlohmann::json::exception&) {
    throw WeightsError(path.string() + ": is damaged: its members are no list of paths and weights");
  }
  return members;
}

nlohmann::ordered_json members_json(const std::vector<EvaluationMember>& members) {
  auto list = to_json(members);
  for (auto& member : list)
    member["result_sha256"] = result_sum(std::filesystem::path(member["path"].get<std::string>()).parent_path());
  return list;
}

bool wants_more_epochs(const PlanRow& row) {
  if (row.run == nullptr || run_state(row.folder) != RunState::kFinished) return false;
  const std::int64_t epochs = finished_epochs(row.folder);
  return epochs > 0 && row.config.optim.epochs > epochs;
}

RowState state_of(const PlanRow& row) { return run_is_held(row.folder) ? RowState::kRunning : state_of_files(row); }

RowState state_of_files(const PlanRow& row) {
  const RunState files = run_state(row.folder);
  if (files == RunState::kAbsent) return RowState::kPending;
  if (files == RunState::kFinished) {
    const bool grows = row.run != nullptr ? wants_more_epochs(row) : members_moved_on(row);
    return grows ? RowState::kPending : RowState::kDone;
  }
  const bool failed = value_or(read_run_record(RunFiles(row.folder).record()), "status", std::string()) == "failed";
  return failed ? RowState::kFailed : RowState::kStopped;
}

RowStatus status_of(const PlanRow& row) {
  RowStatus status{.name = row.name, .seed = row.seed, .state = state_of(row)};
  if (row.run == nullptr) return status;
  status.epochs = row.config.optim.epochs;
  double seconds = 0;
  for (const auto& line : read_metrics(RunFiles(row.folder).metrics())) {
    status.epoch = std::max(status.epoch, line["epoch"].get<std::int64_t>() + 1);
    seconds += value_or(line, "seconds", 0.0);
  }
  const double left = static_cast<double>(status.epochs - status.epoch);
  status.seconds_left =
      status.epoch > 0 ? seconds / static_cast<double>(status.epoch) * left : std::numeric_limits<double>::quiet_NaN();
  if (status.state == RowState::kDone) status.seconds_left = 0;
  return status;
}

std::string row_state_name(RowState state) {
  switch (state) {
    case RowState::kPending:
      return "pending";
    case RowState::kRunning:
      return "running";
    case RowState::kDone:
      return "done";
    case RowState::kFailed:
      return "failed";
    case RowState::kStopped:
      return "stopped";
    case RowState::kStale:
      return "stale";
  }
  return {};
}

std::vector<std::string> conflicts_of(const std::vector<PlanRow>& rows) { return Conflicts(rows).find(); }

bool same_batches(const PlanRow& a, const PlanRow& b) { return batch_settings(a) == batch_settings(b); }

bool same_process(const PlanRow& a, const PlanRow& b) {
  if (a.run == nullptr || b.run == nullptr) return true;
  return a.config.run.deterministic == b.config.run.deterministic && a.config.run.fused == b.config.run.fused;
}

std::vector<std::size_t> training_group(const std::vector<PlanRow>& rows, std::size_t first,
                                        const std::vector<std::size_t>& others, std::size_t limit) {
  std::vector<std::size_t> group{first};
  const auto joins = [&](std::size_t i) {
    return std::ranges::find(group, i) == group.end() && distils(rows[i]) && same_batches(rows[first], rows[i]) &&
           std::ranges::any_of(group, [&](std::size_t j) { return share_a_teacher(rows[i], rows[j]); });
  };
  while (distils(rows[first]) && group.size() < limit) {
    const auto next = std::ranges::find_if(others, joins);
    if (next == others.end()) break;
    group.push_back(*next);
  }
  std::ranges::sort(group);
  return group;
}

}  // namespace ekd

#include "ekd/study/plan.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "ekd/core/error.h"
#include "ekd/core/strict_json.h"
#include "ekd/core/text.h"
#include "ekd/study/ordering.h"
#include "ekd/study/report_table.h"
#include "ekd/train/teacher.h"

namespace ekd {
namespace {

using nlohmann::json;

constexpr Command kCommands[] = {Command::kTrainTeacher, Command::kTrainStudent, Command::kDistill};
constexpr int kMaxExtends = 8;
constexpr std::string_view kAveraged = ":ema";

std::vector<std::string> command_names() {
  std::vector<std::string> names;
  for (const Command command : kCommands) names.push_back(command_name(command));
  return names;
}

// Reads the members of one plan file, with its name in every error.
class PlanReader {
 public:
  explicit PlanReader(std::string source) : source_(std::move(source)) {}

  [[noreturn]] void reject(const std::string& what) const { throw UsageError(source_ + ": " + what); }

  void check_keys(const json& object, const std::string& where, const std::vector<std::string>& accepted) const {
    if (!object.is_object()) reject(where + " is not a JSON object");
    for (const auto& item : object.items()) {
      if (std::ranges::find(accepted, item.key()) == accepted.end())
        reject(where + " has the unknown key '" + item.key() + "'; accepted: " + join(accepted) +
               did_you_mean(item.key(), accepted));
    }
  }

  std::string text(const json& object, const char* key, const std::string& where) const {
    if (!object.contains(key) || !object[key].is_string() || object[key].get_ref<const std::string&>().empty())
      reject(where + " needs a text '" + key + "'");
    return object[key].get<std::string>();
  }

  // A list that may be absent.
  json list(const json& object, const char* key) const {
    if (!object.contains(key)) return json::array();
    if (!object[key].is_array()) reject(std::string("'") + key + "' is not a list");
    return object[key];
  }

  std::vector<std::string> texts(const json& object, const char* key) const {
    std::vector<std::string> all;
    for (const auto& item : list(object, key)) {
      if (!item.is_string()) reject(std::string("'") + key + "' is not a list of names");
      all.push_back(item.get<std::string>());
    }
    return all;
  }

  PublishedNumbers paper(const json& row) const {
    if (!row.contains("paper") || row["paper"].is_null()) return std::nullopt;
    check_keys(row["paper"], "'paper'", published_columns());
    for (const auto& number : row["paper"])
      if (!number.is_number()) reject("'paper' holds fractions");
    return row["paper"].get<std::map<std::string, double>>();
  }

 private:
  std::string source_;
};

// Settings by command, each a list of layers.
using Layers = std::map<std::string, std::vector<json>>;

void add_layers(const PlanReader& reader, const json& config, Layers& layers) {
  auto accepted = command_names();
  accepted.insert(accepted.begin(), "all");
  reader.check_keys(config, "'config'", accepted);
  for (const auto& name : command_names()) {
    if (config.contains("all")) layers[name].push_back(config["all"]);
    if (config.contains(name)) layers[name].push_back(config[name]);
  }
}

// What a plan file and the one it extends say together.
struct Draft {
  std::string title;
  json seeds = json::array({0});
  Layers layers;
  json runs = json::array(), evaluations = json::array(), orderings = json::array();
};

void append(json& list, const json& more) {
  for (const auto& item : more) list.push_back(item);
}

// Claims about a row that is no longer there go with it.
void drop_orderings(json& orderings, const std::string& name) {
  json kept = json::array();
  for (auto& ordering : orderings) {
    if (ordering.is_object()) {
      if (ordering["better"] == name) continue;
      auto* than = ordering["than"].get_ptr<json::array_t*>();
      if (than && std::erase(*than, json(name)) > 0 && than->empty()) continue;
    }
    kept.push_back(ordering);
  }
  orderings = kept;
}

void drop_rows(const PlanReader& reader, Draft& draft, const std::vector<std::string>& names) {
  for (const auto& name : names) {
    bool found = false;
    for (json* rows : {&draft.runs, &draft.evaluations}) {
      const auto named = [&](const json& row) { return value_or(row, "name", std::string()) == name; };
      const auto kept = std::remove_if(rows->begin(), rows->end(), named);
      found = found || kept != rows->end();
      rows->erase(kept, rows->end());
    }
    if (!found) reader.reject("'without' names '" + name + "', which is no row");
    drop_orderings(draft.orderings, name);
  }
}

Draft read_draft(const std::filesystem::path& path, int depth) {
  const PlanReader reader(path.string());
  if (depth > kMaxExtends) reader.reject("'extends' goes in a circle");
  const json file = read_users_json(path);
  reader.check_keys(file, "a plan",
                    {"title", "extends", "seeds", "config", "runs", "evaluations", "orderings", "without"});
  Draft draft;
  if (file.contains("extends"))
    draft = read_draft(path.parent_path() / reader.text(file, "extends", "a plan"), depth + 1);
  if (file.contains("title")) draft.title = reader.text(file, "title", "a plan");
  if (file.contains("seeds")) draft.seeds = file["seeds"];
  if (file.contains("config")) add_layers(reader, file["config"], draft.layers);
  append(draft.runs, reader.list(file, "runs"));
  append(draft.evaluations, reader.list(file, "evaluations"));
  append(draft.orderings, reader.list(file, "orderings"));
  drop_rows(reader, draft, reader.texts(file, "without"));
  return draft;
}

std::vector<std::int64_t> read_seeds(const PlanReader& reader, const json& seeds) {
  std::vector<std::int64_t> all;
  for (const auto& seed : seeds.is_array() ? seeds : json::array({nullptr})) {
    if (!seed.is_number_integer() || seed < 0 || seed > 4294967295)
      reader.reject("'seeds' is a list of whole numbers in [0, 4294967295]");
    all.push_back(seed.get<std::int64_t>());
  }
  if (all.empty() || std::set<std::int64_t>(all.begin(), all.end()).size() != all.size())
    reader.reject("'seeds' needs at least one seed, each once");
  return all;
}

PlanRun read_run(const PlanReader& reader, const json& row, const Layers& layers) {
  PlanRun run;
  run.name = reader.text(row, "name", "a run");
  const std::string where = "run '" + run.name + "'";
  reader.check_keys(row, where, {"name", "command", "config", "teachers", "paper"});
  const std::string command = reader.text(row, "command", where);
  const auto* found = std::ranges::find(kCommands, command, [](Command value) { return command_name(value); });
  if (found == std::end(kCommands))
    reader.reject(where + ": unknown command '" + command + "'; accepted: " + join(command_names()));
  run.command = *found;
  if (const auto of_command = layers.find(command); of_command != layers.end()) run.layers = of_command->second;
  if (row.contains("config")) run.layers.push_back(row["config"]);
  for (const auto& text : reader.texts(row, "teachers")) {
    const auto teacher = split_weight(text);
    if (!teacher)
      reader.reject(where + ": '" + text + "': a teacher is RUN or RUN@WEIGHT, the weight a number in (0, 1e9]");
    run.teachers.push_back(teacher->first);
    run.teacher_weights.push_back(teacher->second);
  }
  if (run.teachers.empty() == (run.command == Command::kDistill))
    reader.reject(where + ": 'teachers' go with distill, and distill with 'teachers'");
  run.paper = reader.paper(row);
  return run;
}

PlanEvaluation read_evaluation(const PlanReader& reader, const json& row) {
  PlanEvaluation evaluation;
  evaluation.name = reader.text(row, "name", "an evaluation");
  const std::string where = "evaluation '" + evaluation.name + "'";
  reader.check_keys(row, where, {"name", "members", "paper"});
  for (const auto& member : reader.list(row, "members")) {
    reader.check_keys(member, where + ": a member", {"run", "weight"});
    const json weight = member.contains("weight") ? member["weight"] : json(1);
    if (!weight.is_number() || weight.get<double>() <= 0) reader.reject(where + ": a weight is a number > 0");
    std::string run = reader.text(member, "run", where + ": a member");
    const bool averaged = run.ends_with(kAveraged);
    if (averaged) run.resize(run.size() - kAveraged.size());
    evaluation.members.push_back({run, weight.get<double>(), averaged});
  }
  if (evaluation.members.empty()) reader.reject(where + " has no members");
  evaluation.paper = reader.paper(row);
  return evaluation;
}

// One ordering for each row it is better than and each metric.
std::vector<PlanOrdering> read_ordering(const PlanReader& reader, const json& item,
                                        const std::vector<std::string>& rows) {
  reader.check_keys(item, "an ordering", {"better", "than", "in"});
  const std::string better = reader.text(item, "better", "an ordering"), where = "the ordering of '" + better + "'";
  const auto than = reader.texts(item, "than"), metrics = reader.texts(item, "in");
  if (than.empty() || metrics.empty()) reader.reject(where + " needs the lists 'than' and 'in'");
  std::vector<PlanOrdering> orderings;
  for (const auto& other : than) {
    for (const auto& row : {better, other})
      if (std::ranges::find(rows, row) == rows.end())
        reader.reject(where + ": '" + row + "' is no row of the plan" + did_you_mean(row, rows));
    for (const auto& metric : metrics) {
      if (std::ranges::find(ordered_metrics(), metric) == ordered_metrics().end())
        reader.reject(where + ": no metric '" + metric + "'; accepted: " + join(ordered_metrics()) +
                      did_you_mean(metric, ordered_metrics()));
      orderings.push_back({better, other, metric});
    }
  }
  return orderings;
}

void check_names(const PlanReader& reader, const Plan& plan) {
  std::set<std::string> names;
  const auto add = [&](const std::string& name) {
    const bool plain = std::ranges::all_of(
        name, [](unsigned char c) { return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.' || c == '+'; });
    if (!plain || name.front() == '.')
      reader.reject("'" + name + "': names become folders; letters, digits, - _ . + are accepted");
    if (!names.insert(name).second) reader.reject("two rows are named '" + name + "'");
  };
  for (const auto& run : plan.runs) add(run.name);
  for (const auto& evaluation : plan.evaluations) add(evaluation.name);
}

// Every run after its teachers, otherwise in the order of the file.
std::vector<PlanRun> in_dependency_order(const PlanReader& reader, std::vector<PlanRun> runs) {
  std::vector<std::string> all;
  for (const auto& run : runs) all.push_back(run.name);
  for (const auto& run : runs)
    for (const auto& teacher : run.teachers)
      if (std::ranges::find(all, teacher) == all.end())
        reader.reject("run '" + run.name + "': its teacher '" + teacher + "' is no run of the plan" +
                      did_you_mean(teacher, all));
  std::vector<PlanRun> ordered;
  std::set<std::string> placed;
  while (!runs.empty()) {
    const auto next = std::ranges::find_if(runs, [&](const PlanRun& run) {
      return std::ranges::all_of(run.teachers, [&](const auto& name) { return placed.contains(name); });
    });
    if (next == runs.end()) reader.reject("run '" + runs.front().name + "' is, through its teachers, its own teacher");
    placed.insert(next->name);
    ordered.push_back(std::move(*next));
    runs.erase(next);
  }
  return ordered;
}

}  // namespace

Plan read_plan(const std::filesystem::path& path) {
  const PlanReader reader(path.string());
  const Draft draft = read_draft(path, 0);
  Plan plan;
  plan.path = path;
  plan.title = draft.title;
  plan.seeds = read_seeds(reader, draft.seeds);
  for (const auto& row : draft.runs) plan.runs.push_back(read_run(reader, row, draft.layers));
  for (const auto& row : draft.evaluations) plan.evaluations.push_back(read_evaluation(reader, row));
  if (plan.runs.empty()) reader.reject("a plan needs at least one run");
  check_names(reader, plan);
  plan.runs = in_dependency_order(reader, std::move(plan.runs));
  for (const auto& evaluation : plan.evaluations)
    for (const auto& member : evaluation.members)
      if (std::ranges::find(plan.runs, member.run, &PlanRun::name) == plan.runs.end())
        reader.reject("evaluation '" + evaluation.name + "': its member '" + member.run + "' is no run of the plan");
  std::vector<std::string> rows;
  for (const auto& run : plan.runs) rows.push_back(run.name);
  for (const auto& evaluation : plan.evaluations) rows.push_back(evaluation.name);
  for (const auto& item : draft.orderings)
    std::ranges::move(read_ordering(reader, item, rows), std::back_inserter(plan.orderings));
  return plan;
}

std::filesystem::path default_plan_out(const std::filesystem::path& plan) {
  return std::filesystem::path("runs") / plan.stem();
}

std::filesystem::path plan_folder(const std::filesystem::path& out, const std::string& name, std::int64_t seed) {
  return out / (name + "-s" + std::to_string(seed));
}

}  // namespace ekd

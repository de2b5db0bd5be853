#include "study/report_runs.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <regex>
#include <set>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/strict_json.h"
#include "ekd/core/text.h"
#include "ekd/runs/run_dir.h"
#include "ekd/runs/run_record.h"
#include "ekd/settings/differing_settings.h"
#include "ekd/study/plan_runner.h"
#include "ekd/train/finished_run.h"
#include "study/plan_rows.h"

namespace ekd {
namespace {

namespace fs = std::filesystem;

// N of "NAME-sN".
std::optional<std::int64_t> seed_of(const std::string& folder) {
  const auto at = folder.rfind("-s");
  if (at == std::string::npos || at == 0) return std::nullopt;
  std::int64_t seed = 0;
  const char* end = folder.data() + folder.size();
  const auto parsed = std::from_chars(folder.data() + at + 2, end, seed);
  if (parsed.ec != std::errc{} || parsed.ptr != end || seed < 0) return std::nullopt;
  return seed;
}

std::string without_seed(const std::string& folder) {
  return seed_of(folder) ? folder.substr(0, folder.rfind("-s")) : folder;
}

// "runs/a/" and "runs/./a" are "runs/a"; "." is the folder's own name.
fs::path tidy(const std::string& text) {
  fs::path path = fs::path(text).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  const auto last = path.filename();
  return last.empty() || last == "." || last == ".." ? fs::canonical(path) : path;
}

// Seeds that have a folder though the plan does not ask for them.
std::set<std::int64_t> seeds_on_disk(const std::string& out, const std::string& name) {
  std::set<std::int64_t> seeds;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(out, none)) {
    const std::string folder = entry.path().filename();
    const auto seed = seed_of(folder);
    if (seed && without_seed(folder) == name && folder == plan_folder(out, name, *seed).filename()) seeds.insert(*seed);
  }
  return seeds;
}

// The settings that make a run what it is, whatever its seed: of config.json, else of what result.json says of them.
std::map<std::string, std::string> recipe_of(const fs::path& folder) {
  static const std::set<std::string> kResult{"command", "model", "augmentation", "classes", "epochs", "train_images"};
  const RunFiles files(folder);
  const bool stored = path_exists(files.config());
  if (!stored && !path_exists(files.result())) return {};
  std::map<std::string, std::string> recipe;
  for (auto& [key, value] : flat_settings(read_own_json(stored ? files.config() : files.result()))) {
    const bool free = key == "data.dir" || key.starts_with("run.") || key.starts_with("eval.");
    if (stored ? !free : kResult.contains(key)) recipe.emplace(key, value);
  }
  if (const auto teachers = recipe.find("distill.teachers"); teachers != recipe.end())
    teachers->second = std::regex_replace(teachers->second, std::regex("-s[0-9]+(?=\"|:|@)"), "");
  return recipe;
}

// "optim.lr (0.1, not 0.5)" of the settings that both say and that differ.
std::string difference(const std::map<std::string, std::string>& a, const std::map<std::string, std::string>& b) {
  std::vector<std::string> texts;
  for (const auto& [key, value] : a)
    if (const auto other = b.find(key); other != b.end() && other->second != value)
      texts.push_back(key + " (" + value + ", not " + other->second + ")");
  return join(texts);
}

// A row for each recipe among the folders of one name.
std::vector<RowFolders> by_recipe(const RowFolders& row) {
  std::vector<RowFolders> rows;
  std::vector<std::map<std::string, std::string>> recipes;
  for (const auto& folder : row.folders) {
    const auto recipe = recipe_of(folder);
    const auto same =
        std::ranges::find_if(recipes, [&](const auto& other) { return difference(recipe, other).empty(); });
    if (same != recipes.end()) {
      same->insert(recipe.begin(), recipe.end());  // what one of them does not say
      rows[static_cast<std::size_t>(same - recipes.begin())].folders.push_back(folder);
      continue;
    }
    if (!recipes.empty())
      spdlog::warn("{} and {} differ in more than the seed, in {}: they are rows of their own",
                   rows[0].folders[0].string(), folder.string(), difference(recipe, recipes[0]));
    const std::string own_name = fs::path(row.name).parent_path() / folder.filename();
    rows.push_back({rows.empty() ? row.name : own_name, row.paper, {folder}});
    recipes.push_back(recipe);
  }
  return rows;
}

std::vector<RowFolders> by_recipe(const std::vector<RowFolders>& rows) {
  std::vector<RowFolders> all;
  for (const auto& row : rows)
    for (auto& part : by_recipe(row)) all.push_back(std::move(part));
  return all;
}

// A row that was made by an earlier version does not say what was given over its plan, and is taken as it is.
bool says_how_it_was_made(const PlanRow& row) {
  if (row.evaluation != nullptr) return true;
  return read_run_record(RunFiles(row.folder).record()).value("overrides", nlohmann::json()).is_object();
}

void warn_of_stale_rows(const Plan& plan, const std::string& out, const std::set<std::int64_t>& seeds) {
  PlanRequest request{.plan = plan, .out = out, .as_made = true};
  request.plan.seeds.assign(seeds.begin(), seeds.end());
  const auto rows = unroll_plan(request);
  const auto conflicts = conflicts_of(rows);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    std::string why = conflicts[i];
    if (why.empty() && wants_more_epochs(rows[i]))
      why = fmt::format("optim.epochs ({}, was {})", rows[i].config.optim.epochs, finished_epochs(rows[i].folder));
    if (!why.empty() && says_how_it_was_made(rows[i]))
      spdlog::warn("{} is not what the plan says now: {}", rows[i].folder.string(), why);
  }
}

}  // namespace

std::vector<RowFolders> rows_of_runs(const std::vector<std::string>& runs) {
  std::vector<RowFolders> rows;
  std::set<fs::path> taken;
  for (const auto& run : runs) {
    if (!is_folder(run)) {
      const bool plan = run.ends_with(".json") && path_exists(run);
      throw UsageError(run +
                       (plan ? ": is a file, not a run folder; a plan stands alone" : ": there is no such run folder"));
    }
    const fs::path path = tidy(run);
    if (!taken.insert(fs::canonical(path)).second) continue;
    const std::string row = path.parent_path() / without_seed(path.filename());
    auto found = std::ranges::find(rows, row, &RowFolders::name);
    if (found == rows.end()) found = rows.insert(rows.end(), {row, std::nullopt, {}});
    found->folders.push_back(path);
  }
  rows = by_recipe(rows);
  const auto last_part = [](const RowFolders& row) { return fs::path(row.name).filename().string(); };
  std::vector<std::string> names;
  for (const auto& row : rows) {
    const bool unique = std::ranges::count(rows, last_part(row), last_part) == 1;
    names.push_back(unique ? last_part(row) : row.name);
  }
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i].name = names[i];
  return rows;
}

bool differs_from_the_papers_data(const FinishedRun& run) {
  if (const auto members = stored_members(run.folder); !members.empty()) {
    const fs::path folder = run.folder.parent_path() / members[0].run;
    return run_state(folder) == RunState::kFinished && differs_from_the_papers_data(read_finished_run(folder));
  }
  auto said = flat_settings(run.result);
  if (const auto config = RunFiles(run.folder).config(); path_exists(config))
    for (const auto& [key, value] : flat_settings(read_own_json(config))) said[key] = value;
  const auto is_other = [&](const std::string& key, const std::set<std::string>& papers) {
    const auto found = said.find(key);
    return found != said.end() && !papers.contains(found->second);
  };
  return is_other("classes", {"100"}) || is_other("data.classes", {"0", "100"}) || is_other("dataset", {"cifar100"}) ||
         is_other("data.dataset", {"cifar100"}) || is_other("data.train_limit", {"0"}) ||
         is_other("data.test_limit", {"0"});
}

std::vector<RowFolders> rows_of_plan(const std::string& plan_file, const std::string& out) {
  const Plan plan = read_plan(plan_file);
  if (!is_folder(out)) throw UsageError("--out " + out + ": there is no such folder");
  std::vector<RowFolders> rows;
  std::set<std::int64_t> all_seeds;
  const auto add = [&](const std::string& name, const PublishedNumbers& paper) {
    std::set<std::int64_t> seeds = seeds_on_disk(out, name);
    seeds.insert(plan.seeds.begin(), plan.seeds.end());
    all_seeds.insert(seeds.begin(), seeds.end());
    rows.push_back({name, paper, {}});
    for (const auto seed : seeds) rows.back().folders.push_back(plan_folder(out, name, seed));
  };
  for (const auto& run : plan.runs) add(run.name, run.paper);
  for (const auto& evaluation : plan.evaluations) add(evaluation.name, evaluation.paper);
  warn_of_stale_rows(plan, out, all_seeds);
  return by_recipe(rows);
}

}  // namespace ekd

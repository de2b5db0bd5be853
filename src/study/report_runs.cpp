#include "study/report_runs.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "ekd/core/error.h"

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

}  // namespace

std::vector<RowFolders> rows_of_runs(const std::vector<std::string>& runs) {
  std::vector<RowFolders> rows;
  std::set<fs::path> taken;
  for (const auto& run : runs) {
    if (!fs::is_directory(run)) {
      const bool plan = run.ends_with(".json") && fs::exists(run);
      throw UsageError(run + (plan ? ": is a file; a plan needs --out DIR, the folder of its runs"
                                   : ": there is no such run folder"));
    }
    const fs::path path = tidy(run);
    if (!taken.insert(fs::canonical(path)).second) continue;
    const std::string row = path.parent_path() / without_seed(path.filename());
    auto found = std::ranges::find(rows, row, &RowFolders::name);
    if (found == rows.end()) found = rows.insert(rows.end(), {row, std::nullopt, {}});
    found->folders.push_back(path);
  }
  const auto last_part = [](const RowFolders& row) { return fs::path(row.name).filename().string(); };
  std::vector<std::string> names;
  for (const auto& row : rows) {
    const bool unique = std::ranges::count(rows, last_part(row), last_part) == 1;
    names.push_back(unique ? last_part(row) : row.name);
  }
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i].name = names[i];
  return rows;
}

std::vector<RowFolders> rows_of_plan(const std::string& plan_file, const std::string& out) {
  const Plan plan = read_plan(plan_file);
  if (!fs::is_directory(out)) throw UsageError("--out " + out + ": there is no such folder");
  std::vector<RowFolders> rows;
  const auto add = [&](const std::string& name, const PublishedNumbers& paper) {
    std::set<std::int64_t> seeds = seeds_on_disk(out, name);
    seeds.insert(plan.seeds.begin(), plan.seeds.end());
    rows.push_back({name, paper, {}});
    for (const auto seed : seeds) rows.back().folders.push_back(plan_folder(out, name, seed));
  };
  for (const auto& run : plan.runs) add(run.name, run.paper);
  for (const auto& evaluation : plan.evaluations) add(evaluation.name, evaluation.paper);
  return rows;
}

}  // namespace ekd

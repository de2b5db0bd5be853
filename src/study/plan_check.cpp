#include "study/plan_check.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <map>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/text.h"
#include "ekd/evaluate/model_file.h"
#include "ekd/runs/run_dir.h"
#include "ekd/runs/run_record.h"
#include "ekd/settings/stored_settings.h"
#include "ekd/train/finished_run.h"
#include "study/row_state.h"

namespace ekd {
namespace {

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
    const auto text = [](const std::string& run, double weight) { return fmt::format("{}@{:g}", run, weight); };
    std::vector<std::string> now, before;
    for (const auto& member : row.evaluation->members)
      now.push_back(text(plan_folder("", member.run, row.seed).string(), member.weight));
    for (const auto& member : members) before.push_back(text(member.run, member.weight));
    if (now == before) return {};
    return {"members (" + join(now) + ", was " + join(before) + ")"};
  }

  const std::vector<PlanRow>& rows_;
  std::vector<std::string> texts_;  // of the rows so far; what a row needs stands before it
  std::map<std::filesystem::path, std::string> sums_;
};

}  // namespace

std::vector<std::string> conflicts_of(const std::vector<PlanRow>& rows) { return Conflicts(rows).find(); }

}  // namespace ekd

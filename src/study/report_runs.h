// Which folders make which row of a report.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ekd/study/plan.h"

namespace ekd {

struct RowFolders {
  std::string name;
  PublishedNumbers paper;
  std::vector<std::filesystem::path> folders;
};

// The rows of run folders: those of one row differ in the "-sN" at their end only. Rows of the same name in different
// places keep their path as name. Throws UsageError for what is no folder.
std::vector<RowFolders> rows_of_runs(const std::vector<std::string>& runs);

// The rows of a plan: its runs, then its evaluations, each over the plan's seeds and what other seeds lie in `out`.
std::vector<RowFolders> rows_of_plan(const std::string& plan, const std::string& out);

}  // namespace ekd

// Which folders make which row of a report.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ekd/study/plan.h"
#include "ekd/train/finished_run.h"

namespace ekd {

struct RowFolders {
  std::string name;
  PublishedNumbers paper;
  std::vector<std::filesystem::path> folders;
};

// The rows of run folders: those of one row differ in the "-sN" at their end only, and nothing but the seed differs in
// their settings; others are rows of their own, after a warning. Rows of the same name in different places keep their
// path as name. Throws UsageError for what is no folder.
std::vector<RowFolders> rows_of_runs(const std::vector<std::string>& runs);

// Whether a run is known to be of other data than the paper's, CIFAR-100 with all its images and classes: published
// numbers beside it would mean nothing.
bool differs_from_the_papers_data(const FinishedRun& run);

// The rows of a plan: its runs, then its evaluations, each over the plan's seeds and what other seeds lie in `out`.
// Warns of what is not what the plan says.
std::vector<RowFolders> rows_of_plan(const std::string& plan, const std::string& out);

}  // namespace ekd

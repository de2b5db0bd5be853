// A plan unrolled over its seeds: rows with settings and what they need.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ekd/settings/config.h"
#include "ekd/study/plan_runner.h"

namespace ekd {

struct PlanRow {
  std::string name;
  std::int64_t seed = 0;
  std::filesystem::path folder;
  std::vector<std::size_t> needs;  // rows that have to be done before, by index
  const PlanRun* run = nullptr;    // one of these two
  const PlanEvaluation* evaluation = nullptr;
  Config config;  // of a run
};

// The selected rows, each after what it needs. Pointers lead into `request.plan`. Throws UsageError.
std::vector<PlanRow> unroll_plan(const PlanRequest& request);

}  // namespace ekd

// A plan: many trainings and evaluations, over seeds, as a JSON file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "ekd/settings/config.h"

namespace ekd {

// Published numbers by column, some of published_columns(); none for a row that was not published.
using PublishedNumbers = std::optional<std::map<std::string, double>>;

struct PlanRun {
  std::string name;
  Command command = Command::kTrainTeacher;
  std::vector<nlohmann::json> layers;  // configurations, later ones over earlier ones, over the command's defaults
  std::vector<std::string> teachers;   // names of other runs of the plan
  std::vector<double> teacher_weights;
  PublishedNumbers paper;
};

struct PlanMember {
  std::string run;  // name of a run of the plan
  double weight = 1;
  bool averaged = false;  // "RUN:ema": its averaged weights
};

struct PlanEvaluation {
  std::string name;
  std::vector<PlanMember> members;
  PublishedNumbers paper;
};

// A claim: row `better` is better than row `than` in `metric`, one of ordered_metrics().
struct PlanOrdering {
  std::string better, than, metric;
};

struct Plan {
  std::filesystem::path path;
  std::string title;
  std::vector<std::int64_t> seeds;
  std::vector<PlanRun> runs;  // every run after its teachers
  std::vector<PlanEvaluation> evaluations;
  std::vector<PlanOrdering> orderings;
};

// Reads a plan file, following "extends". Throws UsageError naming the file, the row and what is accepted.
Plan read_plan(const std::filesystem::path& path);

// runs/ and the plan's name: where the runs of a plan lie unless told otherwise.
std::filesystem::path default_plan_out(const std::filesystem::path& plan);

// OUT/NAME-sSEED: where a run's or an evaluation's files lie. Both hold result.json (its "last" has the test metrics)
// and predictions.safetensors (test logits and labels of the last weights, or of the ensemble).
std::filesystem::path plan_folder(const std::filesystem::path& out, const std::string& name, std::int64_t seed);

}  // namespace ekd

// What `ekd report` does: finished runs to the rows of a table, or the settings in which runs differ.
//
// A published number p of one run is beside ours, a mean over n seeds: within 2σ, σ² = S²_ours + S²_published + (1/n +
// 1)·s². s is the standard deviation over our seeds (0 where there is one: then σ holds sampling alone); what images do
// to single seeds is in it, and is taken from both S² where predictions tell it (metrics/statistics.h). With few seeds
// Student's quantile takes the place of 2. S is the standard
// deviation over test images: ours by the bootstrap (for accuracy without saved predictions √(a(1 − a)/images)), the
// published one's √(p(1 − p)/10,000) for accuracy, for ECE and OE that of one of our networks, carried to 10,000
// images.
#pragma once

#include <string>
#include <vector>

#include "ekd/core/field.h"
#include "ekd/settings/differing_settings.h"
#include "ekd/study/report_table.h"

namespace ekd {

struct ReportRequest {
  std::vector<std::string> runs;  // run folders, or one plan
  std::string out;                // the folder of a plan's runs; empty: default_plan_out()
  std::string format = "text", columns = "";
  bool compare = false, orderings = false;  // instead of results
  bool paper = true;                        // published numbers beside
};

// Whether the request is about a plan, and where its runs lie.
bool is_plan(const ReportRequest& request);
std::string out_of_plan(const ReportRequest& request);

// The settings among the request's members. Pointers lead into `request`.
std::vector<Field> report_fields(ReportRequest& request);

// Run folders: one row for those that differ in the seed only, by name and by settings, in the order given; a plan: its
// order, names and published numbers, these beside rows of the paper's data alone. Unfinished runs are left out with a
// warning. Throws UsageError where nothing has finished or a
// folder is no run, WeightsError where a result or predictions are damaged.
std::vector<ReportRow> make_report(const ReportRequest& request);

// The settings of the runs that have a config.json, finished or not.
std::vector<ConfigRow> run_settings(const ReportRequest& request);

}  // namespace ekd

// One row of a report: the finished seeds of one name to means, spreads, intervals and the comparison with the paper.
#pragma once

#include <string>
#include <vector>

#include "ekd/study/plan.h"
#include "ekd/study/report_table.h"
#include "ekd/train/finished_run.h"

namespace ekd {

// `runs` are the seeds of the row, at least one; `paper` holds what was published.
// Where all runs hold predictions.safetensors the row has intervals and floors, where all hold
// predictions-val.safetensors, too, the columns after temperature scaling. Throws WeightsError where a file is damaged.
ReportRow make_row(const std::string& name, const std::vector<FinishedRun>& runs, const PublishedNumbers& paper);

}  // namespace ekd

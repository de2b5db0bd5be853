// Which images an evaluation uses: the settings given, else those of the runs under evaluation.
#pragma once

#include <string>
#include <vector>

#include "ekd/engine/evaluation.h"

namespace ekd {

// `runs` are run directories. Throws UsageError where runs disagree about a setting that was not given.
DataConfig evaluation_data(const DataOverrides& given, const std::vector<std::string>& runs);

}  // namespace ekd

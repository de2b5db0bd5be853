// Which images an evaluation uses: the settings given, else those of the runs under evaluation.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "ekd/data/settings.h"

namespace ekd {

// `keys` are those of the settings that were given; `runs` are run directories. Throws UsageError where runs disagree
// about another one that decides which images are in one of the `splits` ("train", "val", "test").
DataConfig evaluation_data(const DataConfig& given, const std::set<std::string>& keys,
                           const std::vector<std::string>& runs, const std::set<std::string>& splits);

}  // namespace ekd

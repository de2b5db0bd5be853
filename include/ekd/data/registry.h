// The data sets by name.
#pragma once

#include <cstdint>
#include <string>

#include "ekd/core/registry.h"
#include "ekd/core/types.h"
#include "ekd/data/settings.h"

namespace ekd {

struct DatasetRow {
  std::string name;
  std::string help;
  std::int64_t classes;
  Normalisation normalisation;
  // Fills the three splits and the class names, all of them or none, as `config` wants them: see load_dataset.
  Dataset (*load)(const DataConfig& config);
};

const Registry<DatasetRow>& dataset_registry();

}  // namespace ekd

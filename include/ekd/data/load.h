// From settings to images: CIFAR-100's binary files or the built-in synthetic set.
#pragma once

#include "ekd/core/types.h"
#include "ekd/data/settings.h"

namespace ekd {

// The whole data set on the CPU, after `classes`, `val_size` and the limits have been applied in this order.
// Throws DataError (missing, damaged, or nothing left) and UsageError (settings that do not fit the data).
Dataset load_dataset(const DataConfig& config);

}  // namespace ekd

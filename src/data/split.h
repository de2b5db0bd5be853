// Which records of a data set a run uses.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ekd/data/settings.h"

namespace ekd {

// Rows in file order.
struct SplitRows {
  std::vector<std::int64_t> train, val, test;
};

// Applies, in this order: `classes` keeps the labels below it, `val_size` takes the last training records left, the
// limits keep the first of train and test. `num_classes` is what the data set has. Throws UsageError naming the setting
// and what is accepted, DataError where no record of the chosen classes exists.
SplitRows split_rows(std::span<const std::uint8_t> train_labels, std::span<const std::uint8_t> test_labels,
                     std::int64_t num_classes, const DataConfig& config);

}  // namespace ekd

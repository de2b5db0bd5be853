// The data sets by name; from settings to images: which records of a data set a run uses, and in which order an epoch
// visits them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ekd/core/registry.h"
#include "ekd/core/types.h"
#include "ekd/data/settings.h"

namespace ekd {

struct Source;  // data/source.h: all records, before the settings choose

struct DatasetRow {
  std::string name;
  std::string help;
  std::string title;                 // as the field calls it
  std::vector<std::string> told_by;  // a folder with one of these files ("NAME") or folders ("NAME/") holds it
  std::optional<Normalisation> normalisation;  // as published; without, it is measured on the training images
  // Reads and checks the folder. Throws DataError, IoError, MemoryError.
  Source (*open)(const std::filesystem::path& dir);
};

const Registry<DatasetRow>& dataset_registry();

// The whole data set on the CPU, after `classes`, `val_size` and the limits have been applied in this order.
// Throws DataError (missing, damaged, or nothing left), UsageError (settings that do not fit the data), IoError and
// MemoryError.
Dataset load_dataset(const DataConfig& config);

// Rows in file order.
struct SplitRows {
  std::vector<std::int64_t> train, val, test;
};

// Applies, in this order: `classes` keeps the labels below it, `val_size` takes the last training records left, the
// limits keep the first of train and test. `num_classes` is what the data set has. Throws UsageError naming the setting
// and what is accepted, DataError where no record of the chosen classes exists.
SplitRows split_rows(std::span<const std::int64_t> train_labels, std::span<const std::int64_t> test_labels,
                     std::int64_t num_classes, const DataConfig& config);

// A permutation of {0, …, size - 1}, a function of (seed, epoch) alone: rows sorted by counted 64-bit keys. int64
// [size], CPU.
at::Tensor epoch_order(std::int64_t size, std::uint32_t seed, std::int64_t epoch);

}  // namespace ekd

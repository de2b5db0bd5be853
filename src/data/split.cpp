#include "data/split.h"

#include <string>

#include "ekd/core/error.h"

namespace ekd {
namespace {

std::vector<std::int64_t> rows_below(std::span<const std::uint8_t> labels, std::int64_t classes, const char* split) {
  std::vector<std::int64_t> rows;
  rows.reserve(labels.size());
  for (std::size_t i = 0; i < labels.size(); ++i)
    if (labels[i] < classes) rows.push_back(static_cast<std::int64_t>(i));
  if (rows.empty()) {
    throw DataError(std::string("no ") + split + " record is of the first " + std::to_string(classes) + " classes");
  }
  return rows;
}

[[noreturn]] void reject(const std::string& key, std::int64_t value, const std::string& accepted,
                         const std::string& why) {
  throw UsageError(key + " takes " + accepted + ", not " + std::to_string(value) + ": " + why);
}

// A limit beyond what is there means all, so that one limit serves runs with fewer classes too.
void keep_first(std::vector<std::int64_t>& rows, std::int64_t limit) {
  if (limit > 0 && limit < static_cast<std::int64_t>(rows.size())) rows.resize(static_cast<std::size_t>(limit));
}

}  // namespace

SplitRows split_rows(std::span<const std::uint8_t> train_labels, std::span<const std::uint8_t> test_labels,
                     std::int64_t num_classes, const DataConfig& config) {
  if (config.classes < 0 || config.classes > num_classes) {
    reject("data.classes", config.classes, "1 to " + std::to_string(num_classes) + ", or 0 for all",
           "the data has " + std::to_string(num_classes) + " classes");
  }
  const std::int64_t classes = config.classes == 0 ? num_classes : config.classes;
  SplitRows rows{rows_below(train_labels, classes, "training"), {}, rows_below(test_labels, classes, "test")};

  const auto count = static_cast<std::int64_t>(rows.train.size());
  if (config.val_size < 0 || config.val_size >= count) {
    reject("data.val_size", config.val_size, "0 to " + std::to_string(count - 1),
           "there are " + std::to_string(count) + " training records to take it from");
  }
  rows.val.assign(rows.train.end() - config.val_size, rows.train.end());
  rows.train.resize(static_cast<std::size_t>(count - config.val_size));

  keep_first(rows.train, config.train_limit);
  keep_first(rows.test, config.test_limit);
  return rows;
}

}  // namespace ekd

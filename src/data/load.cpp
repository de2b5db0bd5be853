#include "ekd/data/load.h"

#include <ATen/ops/empty.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "data/cifar100.h"
#include "ekd/core/error.h"
#include "ekd/core/random.h"
#include "ekd/core/sha256.h"
#include "ekd/data/synthetic.h"

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

std::vector<std::uint8_t> labels_of(const CifarFile& file) {
  std::vector<std::uint8_t> labels(static_cast<std::size_t>(file.size()));
  for (std::int64_t i = 0; i < file.size(); ++i)
    labels[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(file.label(i));
  return labels;
}

// A set of ten classes in this layout would train a hundred outputs.
void warn_of_absent_classes(const std::vector<std::uint8_t>& labels, const DataConfig& config) {
  const std::int64_t present = std::ranges::max(labels) + 1;
  if (present < (config.classes == 0 ? kCifarClasses : config.classes))
    spdlog::warn("{}: no record is of a class above {}; --classes {} trains a network of {}", config.dir, present - 1,
                 present, present);
}

Dataset load_cifar100(const DataConfig& config) {
  const std::filesystem::path dir = config.dir;
  std::vector<std::string> warnings;
  const CifarFile train = read_cifar_file(dir / kCifarTrainFile, kCifarTrainRecords, warnings);
  const CifarFile test = read_cifar_file(dir / kCifarTestFile, kCifarTestRecords, warnings);
  const SplitRows rows = split_rows(labels_of(train), labels_of(test), kCifarClasses, config);
  warn_of_absent_classes(labels_of(train), config);
  Dataset data;
  data.class_names = read_label_names(dir / kCifarFineNamesFile, kCifarClasses, warnings);
  for (const std::string& warning : warnings) spdlog::warn("{}", warning);
  data.train = gather_records(train, rows.train);
  data.val = gather_records(train, rows.val);
  data.test = gather_records(test, rows.test);
  return data;
}

Dataset load_synthetic(const DataConfig& config) {
  const SplitRows rows = split_rows(synthetic_labels(SyntheticSplit::kTrain), synthetic_labels(SyntheticSplit::kTest),
                                    kSyntheticClasses, config);
  Dataset data;
  data.class_names = synthetic_class_names();
  data.train = synthetic_records(SyntheticSplit::kTrain, rows.train);
  data.val = synthetic_records(SyntheticSplit::kTrain, rows.val);
  data.test = synthetic_records(SyntheticSplit::kTest, rows.test);
  return data;
}

std::string digest(const Dataset& data) {
  Sha256 sha256;
  for (const ImageSet* set : {&data.train, &data.val, &data.test}) {
    const std::int64_t size = set->size();
    sha256.update(&size, sizeof size);  // so that moving a record between splits shows
    sha256.update(set->labels.const_data_ptr(), set->labels.nbytes());
    sha256.update(set->images.const_data_ptr(), set->images.nbytes());
  }
  return sha256.hex();
}

}  // namespace

const Registry<DatasetRow>& dataset_registry() {
  static const Registry<DatasetRow> registry(
      "data.dataset", {{"cifar100", "CIFAR-100's binary files", kCifarClasses, Normalisation{}, load_cifar100},
                       {"synthetic", "built in: drawn shapes in a hundred classes, normalised like CIFAR-100",
                        kSyntheticClasses, Normalisation{}, load_synthetic}});
  return registry;
}

Dataset load_dataset(const DataConfig& config) {
  const DatasetRow& row = dataset_registry().at(config.dataset);
  Dataset data = row.load(config);
  data.name = row.name;
  data.classes = config.classes == 0 ? row.classes : config.classes;
  data.normalisation = row.normalisation;
  if (!data.class_names.empty()) data.class_names.resize(static_cast<std::size_t>(data.classes));
  data.sha256 = digest(data);
  return data;
}

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

at::Tensor epoch_order(std::int64_t size, std::uint32_t seed, std::int64_t epoch) {
  const CountedRandom random(seed, RandomStream::kOrder);
  std::vector<std::pair<std::uint64_t, std::int64_t>> keyed(static_cast<std::size_t>(size));
  for (std::int64_t row = 0; row < size; ++row) {
    keyed[static_cast<std::size_t>(row)] = {
        random.bits(static_cast<std::uint32_t>(epoch), static_cast<std::uint32_t>(row), 0), row};
  }
  std::sort(keyed.begin(), keyed.end());  // equal keys fall back to the row: as good as stable
  at::Tensor order = at::empty({size}, at::kLong);
  auto* out = order.mutable_data_ptr<std::int64_t>();
  for (const auto& [key, row] : keyed) *out++ = row;
  return order;
}

}  // namespace ekd

#include "ekd/data/load.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>

#include "data/cifar100.h"
#include "data/split.h"
#include "ekd/core/error.h"
#include "ekd/core/sha256.h"
#include "ekd/data/registry.h"
#include "ekd/data/synthetic.h"

namespace ekd {
namespace {

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

}  // namespace ekd

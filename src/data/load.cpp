#include "ekd/data/load.h"

#include <ATen/ops/empty.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "data/cifar.h"
#include "data/folder.h"
#include "data/npy.h"
#include "data/pixel_statistics.h"
#include "data/source.h"
#include "ekd/core/error.h"
#include "ekd/core/random.h"
#include "ekd/core/sha256.h"
#include "ekd/data/synthetic.h"

namespace ekd {
namespace {

std::vector<std::int64_t> rows_below(std::span<const std::int64_t> labels, std::int64_t classes, const char* split) {
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

// A set of ten classes in a layout of a hundred would train a hundred outputs.
void warn_of_absent_classes(const Source& source, const DataConfig& config) {
  const std::int64_t present = std::ranges::max(source.train.labels) + 1;
  if (present < (config.classes == 0 ? source.classes : config.classes))
    spdlog::warn("{}: no record is of a class above {}; --classes {} trains a network of {}", config.dir, present - 1,
                 present, present);
}

Source open_synthetic(const std::filesystem::path&) {
  const auto split = [](SyntheticSplit which) -> Source::Split {
    const auto labels = synthetic_labels(which);
    return {{labels.begin(), labels.end()},
            [which](std::span<const std::int64_t> rows) { return synthetic_records(which, rows); }};
  };
  return {split(SyntheticSplit::kTrain), split(SyntheticSplit::kTest), kSyntheticClasses, synthetic_class_names(), {}};
}

Normalisation given_normalisation(const DataConfig& config, std::int64_t channels) {
  const auto require = [&](const char* key, const std::vector<double>& numbers) {
    if (static_cast<std::int64_t>(numbers.size()) == channels) return;
    throw UsageError(std::string(key) + " has " + std::to_string(numbers.size()) + " numbers, and the images have " +
                     std::to_string(channels) + " channels; data.mean and data.std take one for each");
  };
  require("data.mean", config.mean);
  require("data.std", config.std);
  Normalisation normalisation = Normalisation::plain();
  std::ranges::transform(config.mean, normalisation.mean.begin(), [](double x) { return static_cast<float>(x); });
  std::ranges::transform(config.std, normalisation.std.begin(), [](double x) { return static_cast<float>(x); });
  return normalisation;
}

Normalisation measured_normalisation(const at::Tensor& images, const std::string& dir) {
  const PixelStatistics measured = pixel_statistics(images);
  Normalisation normalisation = Normalisation::plain();
  for (std::size_t c = 0; c < measured.mean.size(); ++c) {
    normalisation.mean.at(c) = static_cast<float>(measured.mean[c]);
    if (measured.std[c] > 0) {
      normalisation.std.at(c) = static_cast<float>(measured.std[c]);
    } else {
      spdlog::warn("{}: channel {} is the same in all training images; its deviation is taken as 1", dir, c + 1);
    }
  }
  return normalisation;
}

Normalisation normalisation_of(const DatasetRow& row, const DataConfig& config, const at::Tensor& images) {
  if (!config.mean.empty() || !config.std.empty()) return given_normalisation(config, images.size(1));
  return row.normalisation ? *row.normalisation : measured_normalisation(images, config.dir);
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
      "data.dataset", {
                          {"cifar100",
                           "CIFAR-100's binary files",
                           "CIFAR-100",
                           {kCifarTrainFile, kCifarTestFile},
                           Normalisation{},
                           open_cifar100},
                          {"cifar10",
                           "CIFAR-10's binary files",
                           "CIFAR-10",
                           {"data_batch_1.bin", "test_batch.bin"},
                           Normalisation{{0.4914F, 0.4822F, 0.4465F}, {0.2470F, 0.2435F, 0.2616F}},
                           open_cifar10},
                          {"npy",
                           "NumPy's .npy files of images and labels",
                           "pairs of .npy files",
                           {"train_images.npy", "test_images.npy"},
                           std::nullopt,
                           open_npy},
                          {"tiny-imagenet",
                           "Tiny-ImageNet's folder",
                           "Tiny-ImageNet",
                           {"wnids.txt", "val/val_annotations.txt"},
                           std::nullopt,
                           open_tiny_imagenet},
                          {"folder",
                           "PNG and JPEG files in train/CLASS/ and test/CLASS/",
                           "a folder of images",
                           {"train/"},
                           std::nullopt,
                           open_folder},
                          {"synthetic",
                           "built in: drawn shapes in a hundred classes, normalised like CIFAR-100",
                           "the synthetic set",
                           {},
                           Normalisation{},
                           open_synthetic},
                      });
  return registry;
}

Dataset load_dataset(const DataConfig& config) {
  // One at a time: of two trainings of a process on the same folder, the second finds the cache that the first writes.
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  const DatasetRow& row = dataset_registry().at(config.dataset);
  Source source = row.open(config.dir);
  const SplitRows rows = split_rows(source.train.labels, source.test.labels, source.classes, config);
  for (const std::string& warning : source.warnings) spdlog::warn("{}", warning);
  warn_of_absent_classes(source, config);
  Dataset data;
  data.name = row.name;
  data.classes = config.classes == 0 ? source.classes : config.classes;
  data.class_names = std::move(source.class_names);
  if (!data.class_names.empty()) data.class_names.resize(static_cast<std::size_t>(data.classes));
  data.train = source.train.records(rows.train);
  data.val = source.train.records(rows.val);
  data.test = source.test.records(rows.test);
  data.normalisation = normalisation_of(row, config, data.train.images);
  data.sha256 = digest(data);
  return data;
}

SplitRows split_rows(std::span<const std::int64_t> train_labels, std::span<const std::int64_t> test_labels,
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

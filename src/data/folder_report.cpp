#include "ekd/data/folder_report.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <numeric>
#include <span>
#include <utility>

#include "data/cifar.h"
#include "data/layout.h"
#include "data/npy.h"
#include "data/pixel_statistics.h"
#include "data/source.h"
#include "ekd/core/atomic_file.h"
#include "ekd/core/sha256.h"
#include "ekd/data/load.h"

namespace ekd {
namespace {

// What tells CIFAR-100's own images. The files' SHA-1 are those that Apache MXNet publishes
// (gluon.data.vision.CIFAR100) for the official cifar-100-binary.tar.gz, whose MD5 is 03b5dce01913d631647c71ecec9e9cb8.
struct KnownSums {
  std::int64_t records;
  const char *sha1, *sum_of_records;
};
constexpr KnownSums kTrainSums{kCifarTrainRecords, "e207cd2e05b73b1393c74c7f5e7bea451d63e08e",
                               "11a8c0941d0e37831bc7e85560ab5802a1d6a571e18cee74aca962870143967a"};
constexpr KnownSums kTestSums{kCifarTestRecords, "8fb6623e830365ff53cf14adec797474f5478006",
                              "426b9a31732b354e1c8efa1d0b13e0d3984b9babeab86c0ceec6b524a6a4bad6"};

// The checksum of the records' checksums in their order by value: the same in whatever order the records lie.
std::string sum_of_records(const CifarFile& file) {
  std::vector<std::string> sums;
  for (std::int64_t record = 0; record < file.size(); ++record)
    sums.push_back(
        sha256_hex(file.bytes().subspan(static_cast<std::size_t>(record * kCifarRecordBytes), kCifarRecordBytes)));
  std::ranges::sort(sums);
  Sha256 hash;
  for (const auto& sum : sums) hash.update(sum);
  return hash.hex();
}

std::string known_file(const CifarFile& file, const KnownSums& sums) {
  if (file.size() != sums.records) return "";
  if (sha1_hex(file.bytes()) == sums.sha1) return "official";
  return sum_of_records(file) == sums.sum_of_records ? "reordered" : "";
}

void count_classes(std::span<const std::int64_t> labels, std::int64_t classes, DataFileReport& report) {
  report.records = static_cast<std::int64_t>(labels.size());
  report.class_counts.assign(static_cast<std::size_t>(classes), 0);
  for (const auto label : labels) ++report.class_counts[static_cast<std::size_t>(label)];
}

void set_statistics(const at::Tensor& images, DataFileReport& report) {
  PixelStatistics statistics = pixel_statistics(images);
  report.mean = std::move(statistics.mean);
  report.std = std::move(statistics.std);
}

DataFileReport measure(const CifarFile& file, const char* name, const KnownSums& sums) {
  DataFileReport report;
  report.name = name;
  report.bytes = static_cast<std::int64_t>(file.bytes().size());
  report.sha256 = sha256_hex(file.bytes());
  report.known = known_file(file, sums);
  report.coarse_counts.assign(kCifarCoarseClasses, 0);
  std::vector<std::int64_t> rows(static_cast<std::size_t>(file.size())), labels;
  std::iota(rows.begin(), rows.end(), 0);
  for (const auto record : rows) {
    labels.push_back(file.label(record));
    ++report.coarse_counts[static_cast<std::size_t>(file.coarse_label(record))];
  }
  count_classes(labels, kCifarClasses, report);
  set_statistics(gather_records(file, rows).images, report);
  return report;
}

DataFileReport measure(const Source::Split& split, const char* name, std::int64_t classes) {
  DataFileReport report;
  report.name = name;
  count_classes(split.labels, classes, report);
  const ImageSet set = all_records(split);
  report.bytes = static_cast<std::int64_t>(set.images.nbytes());
  Sha256 hash;
  hash.update(set.labels.const_data_ptr(), set.labels.nbytes());
  hash.update(set.images.const_data_ptr(), set.images.nbytes());
  report.sha256 = hash.hex();
  set_statistics(set.images, report);
  return report;
}

void warn_of_empty_classes(const DataFileReport& report, std::vector<std::string>& warnings) {
  const auto empty = std::ranges::count(report.class_counts, 0);
  if (empty > 0)
    warnings.push_back(report.name + ": " + std::to_string(empty) + " of " +
                       std::to_string(report.class_counts.size()) + " classes have no record");
}

// In CIFAR-100 a fine label lies under one coarse label.
void warn_of_mixed_coarse_labels(const CifarFile& train, const CifarFile& test, std::vector<std::string>& warnings) {
  std::vector<std::int64_t> coarse_of(kCifarClasses, -1);
  std::vector<bool> mixed(kCifarClasses, false);
  for (const CifarFile* file : {&train, &test}) {
    for (std::int64_t record = 0; record < file->size(); ++record) {
      const auto fine = static_cast<std::size_t>(file->label(record));
      if (coarse_of[fine] < 0) coarse_of[fine] = file->coarse_label(record);
      if (coarse_of[fine] != file->coarse_label(record)) mixed[fine] = true;
    }
  }
  const auto count = std::ranges::count(mixed, true);
  if (count > 0) warnings.push_back(std::to_string(count) + " fine labels come with more than one coarse label");
}

DataFolderReport inspect_cifar100(const std::filesystem::path& dir) {
  DataFolderReport report;
  const CifarFile train = read_cifar_file(dir / kCifarTrainFile, kCifarTrainRecords, report.warnings);
  const CifarFile test = read_cifar_file(dir / kCifarTestFile, kCifarTestRecords, report.warnings);
  report.class_names = read_label_names(dir / kCifarFineNamesFile, kCifarClasses, report.warnings);
  if (!path_exists(dir / kCifarFineNamesFile))
    report.warnings.push_back((dir / kCifarFineNamesFile).string() + ": is missing; classes go without names");
  report.image_shape = {3, kCifarSide, kCifarSide};
  report.train = measure(train, kCifarTrainFile, kTrainSums);
  report.test = measure(test, kCifarTestFile, kTestSums);
  warn_of_mixed_coarse_labels(train, test, report.warnings);
  return report;
}

DataFolderReport inspect(const DatasetRow& row, const std::filesystem::path& dir) {
  DataFolderReport report;
  Source source = row.open(dir);
  report.class_names = std::move(source.class_names);
  report.warnings = std::move(source.warnings);
  report.image_shape = source.test.records(std::vector<std::int64_t>{0}).images.sizes().slice(1).vec();
  report.train = measure(source.train, "train", source.classes);
  report.test = measure(source.test, "test", source.classes);
  return report;
}

// The row that was asked for, else that of what the folder seems to hold.
const DatasetRow& row_of(const std::filesystem::path& dir, const std::string& dataset) {
  const std::string found = dataset.empty() ? dataset_in(dir) : dataset;
  return dataset_registry().at(found.empty() ? kCifar100.dataset : found);
}

}  // namespace

std::vector<std::string> folder_datasets() {
  std::vector<std::string> names;
  for (const auto& row : dataset_registry().rows())
    if (!row.told_by.empty()) names.push_back(row.name);
  return names;
}

DataFolderReport inspect_data_folder(const std::filesystem::path& dir, const std::string& dataset) {
  const DatasetRow& row = row_of(dir, dataset);
  DataFolderReport report = row.name == kCifar100.dataset ? inspect_cifar100(dir) : inspect(row, dir);
  report.dir = dir.string();
  report.dataset = row.name;
  warn_of_empty_classes(report.train, report.warnings);
  warn_of_empty_classes(report.test, report.warnings);
  return report;
}

ImportedData import_data(const std::filesystem::path& source, const std::filesystem::path& dir,
                         const std::string& dataset) {
  const DatasetRow& row = row_of(source, dataset);
  const Source data = row.open(source);
  for (const std::string& warning : data.warnings) spdlog::warn("{}", warning);
  write_npy(dir, all_records(data.train), all_records(data.test), data.class_names);
  return {row.name, data.train.size(), data.test.size()};
}

}  // namespace ekd

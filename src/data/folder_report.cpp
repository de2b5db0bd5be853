#include "ekd/data/folder_report.h"

#include <algorithm>
#include <cmath>

#include "data/cifar100.h"
#include "ekd/core/atomic_file.h"
#include "ekd/core/sha256.h"

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

// Sums are exact in integers; 2^63 holds more than 10^14 pixels.
void measure_pixels(const CifarFile& file, DataFileReport& report) {
  constexpr std::int64_t kPlane = kCifarSide * kCifarSide;
  for (std::size_t channel = 0; channel < 3; ++channel) {
    std::int64_t sum = 0, squares = 0;
    for (std::int64_t record = 0; record < file.size(); ++record) {
      const std::byte* pixel = file.image(record) + static_cast<std::int64_t>(channel) * kPlane;
      for (std::int64_t i = 0; i < kPlane; ++i) {
        const auto value = std::to_integer<std::int64_t>(pixel[i]);
        sum += value;
        squares += value * value;
      }
    }
    const auto pixels = static_cast<double>(file.size() * kPlane);
    const double mean = static_cast<double>(sum) / pixels;
    report.mean[channel] = mean / 255;
    report.std[channel] = std::sqrt(std::max(0.0, static_cast<double>(squares) / pixels - mean * mean)) / 255;
  }
}

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

DataFileReport measure(const CifarFile& file, const char* name, const KnownSums& sums) {
  DataFileReport report;
  report.name = name;
  report.bytes = static_cast<std::int64_t>(file.bytes().size());
  report.records = file.size();
  report.sha256 = sha256_hex(file.bytes());
  report.known = known_file(file, sums);
  report.class_counts.assign(kCifarClasses, 0);
  report.coarse_counts.assign(kCifarCoarseClasses, 0);
  for (std::int64_t record = 0; record < file.size(); ++record) {
    ++report.class_counts[static_cast<std::size_t>(file.label(record))];
    ++report.coarse_counts[static_cast<std::size_t>(file.coarse_label(record))];
  }
  measure_pixels(file, report);
  return report;
}

void warn_of_empty_classes(const DataFileReport& report, std::vector<std::string>& warnings) {
  const auto empty = std::ranges::count(report.class_counts, 0);
  if (empty > 0) warnings.push_back(report.name + ": " + std::to_string(empty) + " of 100 classes have no record");
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

}  // namespace

DataFolderReport inspect_data_folder(const std::filesystem::path& dir) {
  DataFolderReport report;
  report.dir = dir.string();
  const CifarFile train = read_cifar_file(dir / kCifarTrainFile, kCifarTrainRecords, report.warnings);
  const CifarFile test = read_cifar_file(dir / kCifarTestFile, kCifarTestRecords, report.warnings);
  report.class_names = read_label_names(dir / kCifarFineNamesFile, kCifarClasses, report.warnings);
  if (!path_exists(dir / kCifarFineNamesFile))
    report.warnings.push_back((dir / kCifarFineNamesFile).string() + ": is missing; classes go without names");
  report.train = measure(train, kCifarTrainFile, kTrainSums);
  report.test = measure(test, kCifarTestFile, kTestSums);
  warn_of_empty_classes(report.train, report.warnings);
  warn_of_empty_classes(report.test, report.warnings);
  warn_of_mixed_coarse_labels(train, test, report.warnings);
  return report;
}

}  // namespace ekd

// CIFAR's binary layouts: a file is whole records of one label (CIFAR-10) or a coarse and a fine one (CIFAR-100) and
// 3 x 32 x 32 pixels, channel by channel, row by row. Krizhevsky, "Learning multiple layers of features from tiny
// images", 2009.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "data/source.h"
#include "ekd/core/types.h"

namespace ekd {

struct CifarLayout {
  const char* name;
  const char* dataset;  // in the registry
  std::int64_t classes;
  std::int64_t coarse_classes;  // 0: no coarse label

  constexpr std::int64_t label_bytes() const { return coarse_classes == 0 ? 1 : 2; }
  constexpr std::int64_t record_bytes() const { return label_bytes() + kImageBytes; }

  static constexpr std::int64_t kSide = 32, kImageBytes = 3 * kSide * kSide;
};
inline constexpr CifarLayout kCifar10{"CIFAR-10", "cifar10", 10, 0}, kCifar100{"CIFAR-100", "cifar100", 100, 20};

inline constexpr std::int64_t kCifarSide = CifarLayout::kSide;
inline constexpr std::int64_t kCifarImageBytes = CifarLayout::kImageBytes;
inline constexpr std::int64_t kCifarRecordBytes = kCifar100.record_bytes();
inline constexpr std::int64_t kCifarCoarseClasses = kCifar100.coarse_classes;
inline constexpr std::int64_t kCifarClasses = kCifar100.classes;
inline constexpr std::int64_t kCifarTrainRecords = 50'000;
inline constexpr std::int64_t kCifarTestRecords = 10'000;

inline constexpr const char* kCifarTrainFile = "train.bin";
inline constexpr const char* kCifarTestFile = "test.bin";
inline constexpr const char* kCifarFineNamesFile = "fine_label_names.txt";
inline constexpr const char* kCifarCoarseNamesFile = "coarse_label_names.txt";

// Records of one or several checked files: at least one, all labels in range.
class CifarFile {
 public:
  explicit CifarFile(std::vector<std::byte> bytes, const CifarLayout& layout = kCifar100)
      : bytes_(std::move(bytes)), layout_(layout) {}

  std::int64_t size() const { return static_cast<std::int64_t>(bytes_.size()) / layout_.record_bytes(); }
  std::span<const std::byte> bytes() const { return bytes_; }
  std::int64_t coarse_label(std::int64_t record) const { return std::to_integer<std::int64_t>(at(record)[0]); }
  std::int64_t label(std::int64_t record) const { return std::to_integer<std::int64_t>(image(record)[-1]); }
  const std::byte* image(std::int64_t record) const { return at(record) + layout_.label_bytes(); }

  // The records of another file of this layout behind its own.
  void append(const CifarFile& other) { bytes_.insert(bytes_.end(), other.bytes_.begin(), other.bytes_.end()); }

 private:
  const std::byte* at(std::int64_t record) const { return bytes_.data() + record * layout_.record_bytes(); }
  std::vector<std::byte> bytes_;
  CifarLayout layout_;
};

// Throws DataError naming the file and, where a label is out of range, the record (from 0), the value and what is
// accepted; IoError where the operating system refuses; MemoryError. A whole number of records other than
// `usual_records` adds a line to `warnings`.
CifarFile read_cifar_file(const std::filesystem::path& path, std::int64_t usual_records,
                          std::vector<std::string>& warnings, const CifarLayout& layout = kCifar100);

// One name a line. Empty where the file is absent; also, with a line in `warnings`, where it does not hold `count`
// names.
std::vector<std::string> read_label_names(const std::filesystem::path& path, std::int64_t count,
                                          std::vector<std::string>& warnings);

// The named records as tensors.
ImageSet gather_records(const CifarFile& file, std::span<const std::int64_t> rows);

// train.bin, test.bin and, where it is there, fine_label_names.txt. Throws as read_cifar_file does.
Source open_cifar100(const std::filesystem::path& dir);

// data_batch_1.bin to data_batch_5.bin, test_batch.bin and, where it is there, batches.meta.txt.
Source open_cifar10(const std::filesystem::path& dir);

// Writes train.bin, test.bin and the two files of names (coarse label = fine label / 5), each whole or not at all; the
// folder is made where it is missing. images uint8 [N, 3, 32, 32], labels in [0, 100), 100 and 20 names.
// Files that are there already with other content are kept: throws UsageError before anything is written. Throws
// IoError.
void write_cifar100(const std::filesystem::path& dir, const ImageSet& train, const ImageSet& test,
                    const std::vector<std::string>& fine_names, const std::vector<std::string>& coarse_names);

}  // namespace ekd

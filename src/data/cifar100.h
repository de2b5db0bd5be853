// CIFAR-100's binary layout: a file is whole records of a coarse label, a fine label and 3 x 32 x 32 pixels, channel by
// channel, row by row. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "ekd/core/types.h"

namespace ekd {

inline constexpr std::int64_t kCifarSide = 32;
inline constexpr std::int64_t kCifarImageBytes = 3 * kCifarSide * kCifarSide;
inline constexpr std::int64_t kCifarRecordBytes = 2 + kCifarImageBytes;
inline constexpr std::int64_t kCifarCoarseClasses = 20;
inline constexpr std::int64_t kCifarClasses = 100;
inline constexpr std::int64_t kCifarTrainRecords = 50'000;
inline constexpr std::int64_t kCifarTestRecords = 10'000;

inline constexpr const char* kCifarTrainFile = "train.bin";
inline constexpr const char* kCifarTestFile = "test.bin";
inline constexpr const char* kCifarFineNamesFile = "fine_label_names.txt";
inline constexpr const char* kCifarCoarseNamesFile = "coarse_label_names.txt";

// A checked file: at least one record, all labels in range.
class CifarFile {
 public:
  explicit CifarFile(std::vector<std::byte> bytes) : bytes_(std::move(bytes)) {}

  std::int64_t size() const { return static_cast<std::int64_t>(bytes_.size()) / kCifarRecordBytes; }
  std::span<const std::byte> bytes() const { return bytes_; }
  std::int64_t coarse_label(std::int64_t record) const { return std::to_integer<std::int64_t>(at(record)[0]); }
  std::int64_t label(std::int64_t record) const { return std::to_integer<std::int64_t>(at(record)[1]); }
  const std::byte* image(std::int64_t record) const { return at(record) + 2; }

 private:
  const std::byte* at(std::int64_t record) const { return bytes_.data() + record * kCifarRecordBytes; }
  std::vector<std::byte> bytes_;
};

// Throws DataError naming the file and, where a label is out of range, the record (from 0), the value and what is
// accepted; IoError where the operating system refuses; MemoryError. A whole number of records other than
// `usual_records` adds a line to `warnings`.
CifarFile read_cifar_file(const std::filesystem::path& path, std::int64_t usual_records,
                          std::vector<std::string>& warnings);

// One name a line. Empty where the file is absent; also, with a line in `warnings`, where it does not hold `count`
// names.
std::vector<std::string> read_label_names(const std::filesystem::path& path, std::int64_t count,
                                          std::vector<std::string>& warnings);

// The named records as tensors.
ImageSet gather_records(const CifarFile& file, std::span<const std::int64_t> rows);

// Writes train.bin, test.bin and the two files of names (coarse label = fine label / 5), each whole or not at all; the
// folder is made where it is missing. images uint8 [N, 3, 32, 32], labels in [0, 100), 100 and 20 names.
// Files that are there already with other content are kept: throws UsageError before anything is written. Throws
// IoError.
void write_cifar100(const std::filesystem::path& dir, const ImageSet& train, const ImageSet& test,
                    const std::vector<std::string>& fine_names, const std::vector<std::string>& coarse_names);

}  // namespace ekd

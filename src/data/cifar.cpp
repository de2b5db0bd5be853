#include "data/cifar.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <cstring>
#include <fstream>
#include <memory>
#include <utility>

#include "data/layout.h"
#include "data/new_files.h"
#include "data/source_file.h"
#include "ekd/core/error.h"

namespace ekd {
namespace {

namespace fs = std::filesystem;

void check_label(const fs::path& path, std::int64_t record, const char* kind, std::int64_t value,
                 std::int64_t classes) {
  if (value < classes) return;
  throw DataError(path.string() + ": record " + std::to_string(record) + " (from 0) has " + kind + " " +
                  std::to_string(value) + "; accepted: 0 to " + std::to_string(classes - 1));
}

std::vector<std::byte> to_records(const ImageSet& set) {
  TORCH_CHECK(set.images.dim() == 4 && set.images.is_contiguous() && set.images.scalar_type() == at::kByte &&
                  set.images[0].numel() == kCifarImageBytes && set.labels.scalar_type() == at::kLong,
              "images are uint8 [N, 3, 32, 32] and contiguous, labels int64");
  std::vector<std::byte> bytes(static_cast<std::size_t>(set.size() * kCifarRecordBytes));
  const auto* images = set.images.const_data_ptr<std::uint8_t>();
  const auto* labels = set.labels.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < set.size(); ++i) {
    TORCH_CHECK(labels[i] >= 0 && labels[i] < kCifarClasses, "labels lie in [0, 100)");
    std::byte* record = bytes.data() + i * kCifarRecordBytes;
    record[0] = static_cast<std::byte>(labels[i] / (kCifarClasses / kCifarCoarseClasses));
    record[1] = static_cast<std::byte>(labels[i]);
    std::memcpy(record + 2, images + i * kCifarImageBytes, kCifarImageBytes);
  }
  return bytes;
}

// Rows of a file that lives as long as the split.
Source::Split split_of_file(CifarFile file) {
  std::vector<std::int64_t> labels;
  for (std::int64_t record = 0; record < file.size(); ++record) labels.push_back(file.label(record));
  return {std::move(labels), [shared = std::make_shared<CifarFile>(std::move(file))](
                                 std::span<const std::int64_t> rows) { return gather_records(*shared, rows); }};
}
}  // namespace

CifarFile read_cifar_file(const fs::path& path, std::int64_t usual_records, std::vector<std::string>& warnings,
                          const CifarLayout& layout) {
  CifarFile file(read_source_file(path, what_lies_in(path.parent_path(), layout.dataset)), layout);
  const auto bytes = static_cast<std::int64_t>(file.bytes().size()), record_bytes = layout.record_bytes();
  const std::string accepted = "accepted: whole records of " + std::to_string(record_bytes) + " bytes, at least one";
  if (bytes == 0) throw DataError(path.string() + ": is empty; " + accepted);
  const CifarLayout& other = layout.coarse_classes == 0 ? kCifar100 : kCifar10;
  if (bytes % record_bytes != 0 && bytes % other.record_bytes() == 0) {
    throw DataError(path.string() + ": " + std::to_string(bytes) + " bytes are " +
                    std::to_string(bytes / other.record_bytes()) + " records of " + other.name + " (" +
                    std::to_string(other.record_bytes()) + " bytes), not of " + layout.name + "; " + accepted);
  }
  if (bytes % record_bytes != 0) {
    throw DataError(path.string() + ": " + std::to_string(bytes) + " bytes are " + std::to_string(file.size()) +
                    " records and " + std::to_string(bytes % record_bytes) + " bytes; " + accepted);
  }
  const bool coarse = layout.coarse_classes > 0;
  for (std::int64_t record = 0; record < file.size(); ++record) {
    if (coarse) check_label(path, record, "coarse label", file.coarse_label(record), layout.coarse_classes);
    check_label(path, record, coarse ? "fine label" : "label", file.label(record), layout.classes);
  }
  if (file.size() != usual_records) {
    warnings.push_back(path.string() + ": " + std::to_string(file.size()) + " records where " + layout.name + " has " +
                       std::to_string(usual_records) + "; taken as they are");
  }
  return file;
}

std::vector<std::string> read_label_names(const fs::path& path, std::int64_t count,
                                          std::vector<std::string>& warnings) {
  std::error_code error;
  if (!fs::exists(path, error)) return {};
  std::ifstream stream(path);
  std::vector<std::string> names;
  // Bounded: the file may be anything. CIFAR's own ends with an empty line.
  for (std::string line; names.size() <= static_cast<std::size_t>(count) && std::getline(stream, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) names.push_back(line);
  }
  if (static_cast<std::int64_t>(names.size()) == count) return names;
  warnings.push_back(path.string() + ": does not hold " + std::to_string(count) + " names; classes go without names");
  return {};
}

ImageSet gather_records(const CifarFile& file, std::span<const std::int64_t> rows) {
  const auto count = static_cast<std::int64_t>(rows.size());
  ImageSet set{at::empty({count, 3, kCifarSide, kCifarSide}, at::kByte), at::empty({count}, at::kLong)};
  auto* images = set.images.mutable_data_ptr<std::uint8_t>();
  auto* labels = set.labels.mutable_data_ptr<std::int64_t>();
  at::parallel_for(0, count, 1024, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = rows[static_cast<std::size_t>(i)];
      labels[i] = file.label(row);
      std::memcpy(images + i * kCifarImageBytes, file.image(row), kCifarImageBytes);
    }
  });
  return set;
}

Source open_cifar100(const fs::path& dir) {
  Source source;
  source.train = split_of_file(read_cifar_file(dir / kCifarTrainFile, kCifarTrainRecords, source.warnings));
  source.test = split_of_file(read_cifar_file(dir / kCifarTestFile, kCifarTestRecords, source.warnings));
  source.classes = kCifarClasses;
  source.class_names = read_label_names(dir / kCifarFineNamesFile, kCifarClasses, source.warnings);
  return source;
}

Source open_cifar10(const fs::path& dir) {
  constexpr int kBatches = 5;
  const auto read = [&](const std::string& name, std::vector<std::string>& warnings) {
    return read_cifar_file(dir / (name + ".bin"), 10'000, warnings, kCifar10);
  };
  Source source;
  CifarFile train = read("data_batch_1", source.warnings);
  for (int batch = 2; batch <= kBatches; ++batch)
    train.append(read("data_batch_" + std::to_string(batch), source.warnings));
  source.train = split_of_file(std::move(train));
  source.test = split_of_file(read("test_batch", source.warnings));
  source.classes = kCifar10.classes;
  source.class_names = read_label_names(dir / "batches.meta.txt", kCifar10.classes, source.warnings);
  return source;
}

void write_cifar100(const fs::path& dir, const ImageSet& train, const ImageSet& test,
                    const std::vector<std::string>& fine_names, const std::vector<std::string>& coarse_names) {
  const std::string fine = lines_of(fine_names), coarse = lines_of(coarse_names);
  const std::vector<std::byte> test_records = to_records(test), train_records = to_records(train);
  write_new_files(dir, {{dir / kCifarFineNamesFile, {std::as_bytes(std::span(fine))}},
                        {dir / kCifarCoarseNamesFile, {std::as_bytes(std::span(coarse))}},
                        {dir / kCifarTestFile, {test_records}},
                        {dir / kCifarTrainFile, {train_records}}});
}

}  // namespace ekd

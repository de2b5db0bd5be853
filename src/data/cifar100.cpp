#include "data/cifar100.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <cstring>
#include <fstream>
#include <new>
#include <stdexcept>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/text.h"

namespace ekd {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kCifar10RecordBytes = kCifarRecordBytes - 1;  // one label
constexpr const char* kHint = "; scripts/get_cifar100.sh fetches CIFAR-100, --dataset synthetic needs no files";

// What a folder without the files seems to be instead.
std::string what_lies_there(const fs::path& dir) {
  std::error_code error;
  const auto holds = [&](const char* name) { return fs::exists(dir / name, error); };
  if (holds("data_batch_1.bin") || holds("data_batch_1")) return "; this is CIFAR-10, and ekd reads CIFAR-100";
  if (holds("train") && holds("meta")) return "; this is CIFAR-100's Python version, and ekd reads the binary version";
  const fs::path inner = fs::path("cifar-100-binary") / kCifarTrainFile;
  if (holds(inner.c_str())) return "; it lies in " + (dir / "cifar-100-binary").string();
  return kHint;
}

void check_is_file(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::not_found)
    throw DataError(path.string() + ": no such file" + what_lies_there(path.parent_path()));
  if (error) throw IoError(path.string() + ": cannot read: " + error.message());
  if (!fs::is_regular_file(status)) throw DataError(path.string() + ": is not a regular file" + kHint);
}

std::vector<std::byte> read_whole(const fs::path& path) {
  check_is_file(path);
  try {
    return read_file(path);
  } catch (const std::bad_alloc&) {
  } catch (const std::length_error&) {
  }
  throw MemoryError(path.string() + ": not enough memory for its " + std::to_string(fs::file_size(path)) + " bytes");
}

void check_label(const fs::path& path, std::int64_t record, const char* kind, std::int64_t value,
                 std::int64_t classes) {
  if (value < classes) return;
  throw DataError(path.string() + ": record " + std::to_string(record) + " (from 0) has " + kind + " label " +
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

std::vector<std::byte> to_lines(const std::vector<std::string>& names) {
  const std::string text = join(names, "\n") + "\n";
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

// True where the file is there with this content.
bool is_written(const fs::path& path, const std::vector<std::byte>& content) {
  std::error_code error;
  if (!fs::exists(path, error)) return false;
  if (fs::is_regular_file(path, error) && fs::file_size(path, error) == content.size() && read_file(path) == content)
    return true;
  throw UsageError(path.string() + ": is there already with other content; give a new folder");
}

}  // namespace

CifarFile read_cifar_file(const fs::path& path, std::int64_t usual_records, std::vector<std::string>& warnings) {
  CifarFile file(read_whole(path));
  const auto bytes = static_cast<std::int64_t>(file.bytes().size());
  const std::string accepted =
      "accepted: whole records of " + std::to_string(kCifarRecordBytes) + " bytes, at least one";
  if (bytes == 0) throw DataError(path.string() + ": is empty; " + accepted);
  if (bytes % kCifarRecordBytes != 0 && bytes % kCifar10RecordBytes == 0) {
    throw DataError(path.string() + ": " + std::to_string(bytes) + " bytes are " +
                    std::to_string(bytes / kCifar10RecordBytes) + " records of CIFAR-10 (" +
                    std::to_string(kCifar10RecordBytes) + " bytes), and ekd reads CIFAR-100; " + accepted);
  }
  if (bytes % kCifarRecordBytes != 0) {
    throw DataError(path.string() + ": " + std::to_string(bytes) + " bytes are " + std::to_string(file.size()) +
                    " records and " + std::to_string(bytes % kCifarRecordBytes) + " bytes; " + accepted);
  }
  for (std::int64_t record = 0; record < file.size(); ++record) {
    check_label(path, record, "coarse", file.coarse_label(record), kCifarCoarseClasses);
    check_label(path, record, "fine", file.label(record), kCifarClasses);
  }
  if (file.size() != usual_records) {
    warnings.push_back(path.string() + ": " + std::to_string(file.size()) + " records where CIFAR-100 has " +
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

void write_cifar100(const fs::path& dir, const ImageSet& train, const ImageSet& test,
                    const std::vector<std::string>& fine_names, const std::vector<std::string>& coarse_names) {
  struct File {
    fs::path path;
    std::vector<std::byte> content;
    bool written = false;
  };
  std::vector<File> files;
  files.push_back({dir / kCifarFineNamesFile, to_lines(fine_names)});
  files.push_back({dir / kCifarCoarseNamesFile, to_lines(coarse_names)});
  files.push_back({dir / kCifarTestFile, to_records(test)});
  files.push_back({dir / kCifarTrainFile, to_records(train)});
  for (File& file : files) file.written = is_written(file.path, file.content);
  make_directories(dir);
  remove_stale_temporaries(dir);
  for (const File& file : files) {
    const std::span<const std::byte> piece(file.content);
    if (!file.written) write_file_atomically(file.path, std::span(&piece, 1));
  }
}

}  // namespace ekd

#include <cstring>

#include "data/cifar100.h"
#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/text.h"

namespace ekd {
namespace {

namespace fs = std::filesystem;

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

// What a folder in CIFAR-100's layout holds: `ekd data verify` and `ekd data info`.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ekd {

struct DataFileReport {
  std::string name;
  std::int64_t bytes = 0, records = 0;
  std::string sha256;  // of the whole file
  std::string known;   // "official": CIFAR-100's own file; "reordered": its images in another order; else empty
  std::vector<std::int64_t> class_counts;   // by fine label, 100 of them
  std::vector<std::int64_t> coarse_counts;  // by coarse label, 20 of them
  std::array<double, 3> mean{}, std{};      // per channel, of pixels / 255; std over all pixels (divisor n)
};

struct DataFolderReport {
  std::string dir;
  DataFileReport train, test;
  std::vector<std::string> class_names;  // 100, or none
  std::vector<std::string> warnings;     // unusual but usable: sizes, missing names, classes without records, labels
};

// Reads and checks everything. Throws what load_dataset throws for the same folder: DataError, IoError, MemoryError.
DataFolderReport inspect_data_folder(const std::filesystem::path& dir);

}  // namespace ekd

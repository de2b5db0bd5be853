// What a data folder holds: `ekd data verify` and `ekd data info`; and the same data as .npy files: `ekd data import`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ekd {

// A split: one file for CIFAR-100, else all that belongs to it.
struct DataFileReport {
  std::string name;        // "train.bin", "train"
  std::int64_t bytes = 0;  // of the file, else of the pixels
  std::int64_t records = 0;
  std::string sha256;  // of the whole file, else of all labels (int64) and then all pixels
  std::string known;   // "official": CIFAR-100's own file; "reordered": its images in another order; else empty
  std::vector<std::int64_t> class_counts;   // by label
  std::vector<std::int64_t> coarse_counts;  // by CIFAR-100's coarse label, 20 of them; else none
  std::vector<double> mean, std;            // per channel, of pixels / 255; std over all pixels (divisor n)
};

struct DataFolderReport {
  std::string dir;
  std::string dataset;                    // in the registry
  std::vector<std::int64_t> image_shape;  // [C, H, W]
  DataFileReport train, test;
  std::vector<std::string> class_names;  // one for each class, or none
  std::vector<std::string> warnings;     // unusual but usable: sizes, missing names, classes without records, labels
};

// The data sets that a folder can hold.
std::vector<std::string> folder_datasets();

// Reads and checks everything; `dataset` empty: what the folder seems to hold, else CIFAR-100. Throws what load_dataset
// throws for the same folder: DataError, IoError, MemoryError.
DataFolderReport inspect_data_folder(const std::filesystem::path& dir, const std::string& dataset = "");

struct ImportedData {
  std::string dataset;               // what was found
  std::int64_t train = 0, test = 0;  // records
};

// Writes the data of `source` to `dir` as the data set "npy". Throws likewise; also UsageError, before anything is
// written, where `dir` holds such files with other content.
ImportedData import_data(const std::filesystem::path& source, const std::filesystem::path& dir,
                         const std::string& dataset = "");

}  // namespace ekd

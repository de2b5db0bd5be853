// NumPy's .npy files, and data sets of four of them. NumPy's documentation, numpy.lib.format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "data/source.h"
#include "ekd/core/types.h"

namespace ekd {

// An array as it lies in a file of version 1, 2 or 3: the header is checked, the data has the length it states.
struct NpyFile {
  std::string path;
  std::string dtype;  // "|u1", "<i8": byte order, kind, bytes of an element
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;  // the whole file
  std::size_t data_begin = 0;

  std::size_t element_bytes() const;
  std::int64_t count() const;  // of elements
};

// Throws DataError that names the file, with `hint` where it is missing: no .npy file, damaged, cut short, in Fortran's
// order, of objects or records; IoError; MemoryError.
NpyFile read_npy(const std::filesystem::path& path, const std::string& hint = "");

// train_images.npy, train_labels.npy, test_images.npy, test_labels.npy: images uint8 [N, H, W, C], [N, C, H, W] or [N,
// H, W], C 1 or 3; labels integers [N] of any width, from 0 on. class_names.txt, one name a line, may be absent: then
// the classes are those up to the largest training label. Throws as read_npy does.
Source open_npy(const std::filesystem::path& dir);

// Writes what open_npy reads: images [N, C, H, W], labels int64, class_names.txt where there are names. Files that are
// there with other content are kept: throws UsageError before anything is written. Throws IoError.
void write_npy(const std::filesystem::path& dir, const ImageSet& train, const ImageSet& test,
               const std::vector<std::string>& class_names);

}  // namespace ekd

// Which image files make up a data set, and their images, kept beside them from one run to the next.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ekd/core/types.h"

namespace ekd {

struct ListedImage {
  std::filesystem::path path;
  std::int64_t label = 0;
  std::int64_t bytes = 0, modified = 0;  // of the file; nanoseconds
};

// Throws DataError where there is no such file, IoError where the system refuses to look.
ListedImage listed_image(const std::filesystem::path& path, std::int64_t label);

struct ImageList {
  std::filesystem::path dir;  // of the data set
  std::string dataset;
  std::vector<ListedImage> train, test;  // neither is empty
};

struct ListedSets {
  ImageSet train, test;
};

// All images of the list, from DIR/.ekd-cache where that holds what was read from these very files (by their names,
// labels, sizes and times), else decoded, in parallel, and kept there: several processes may do so at once. A cache
// that cannot be written, and one that is damaged, warns. Throws DataError where an image is damaged or of another size
// than the first; IoError; MemoryError.
ListedSets read_listed_images(const ImageList& list);

}  // namespace ekd

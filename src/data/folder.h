// Folders of images.
#pragma once

#include <filesystem>

#include "data/source.h"

namespace ekd {

// DIR/train/CLASS/ and DIR/test/CLASS/ (or val/) with .png, .jpg and .jpeg files, or these in CLASS/images/. Classes
// are the names in train/, sorted by bytes; records are the first file of each class by name, then the second of each.
// All images have one size; where some are grey and some are not, all are given three channels. What was read is kept
// in DIR/.ekd-cache. Throws DataError that names the file or folder, IoError, MemoryError.
Source open_folder(const std::filesystem::path& dir);

// Tiny-ImageNet as its archive unpacks: train/WNID/images/, val/images/ with val/val_annotations.txt, which is the test
// split, wnids.txt and, for the classes' names, words.txt. Classes are the sorted WNIDs. Otherwise as open_folder.
Source open_tiny_imagenet(const std::filesystem::path& dir);

}  // namespace ekd

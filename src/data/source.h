// A data set as its files hold it, before a run's settings choose from it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "ekd/core/types.h"

namespace ekd {

struct Source {
  struct Split {
    std::vector<std::int64_t> labels;  // of all records, in [0, classes)
    // These records, in this order, with their labels; shares memory with the source where it can.
    std::function<ImageSet(std::span<const std::int64_t> rows)> records;

    std::int64_t size() const { return static_cast<std::int64_t>(labels.size()); }
  };
  Split train, test;
  std::int64_t classes = 0;
  std::vector<std::string> class_names;  // `classes` of them, or none
  std::vector<std::string> warnings;     // unusual but usable
};

// Of images that lie in memory.
Source::Split split_of(const ImageSet& set);

ImageSet all_records(const Source::Split& split);

}  // namespace ekd

// How fast a stream makes its batches, without a network.
#pragma once

#include <cstdint>

#include "ekd/train/batch_stream.h"

namespace ekd {

struct AugmentationRate {
  std::int64_t images = 0;  // source images, whatever the number of views
  double seconds = 0;

  double images_per_s() const { return static_cast<double>(images) / seconds; }
};

// Makes the batches of one epoch to warm up, then those of whole epochs until `least_seconds` have passed. What an
// epoch draws before its first batch counts too. Teachers of the stream would count as well: give it none.
AugmentationRate measure_augmentation(BatchStream& stream, double least_seconds);

}  // namespace ekd

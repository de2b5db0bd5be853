#include "ekd/train/augmentation_rate.h"

#include <chrono>

namespace ekd {
namespace {

// Reads one pixel of the last batch back: a device that works asynchronously has then finished all of them.
void make_epoch(BatchStream& stream, std::int64_t epoch) {
  stream.begin_epoch(epoch);
  for (std::int64_t step = 0; step + 1 < stream.steps_per_epoch(); ++step) stream.batch(step);
  const Batch last = stream.batch(stream.steps_per_epoch() - 1);
  last.images.select(0, 0).select(0, 0).select(0, 0).select(0, 0).item<float>();
}

}  // namespace

AugmentationRate measure_augmentation(BatchStream& stream, double least_seconds) {
  make_epoch(stream, 0);
  AugmentationRate rate;
  const auto start = std::chrono::steady_clock::now();
  for (std::int64_t epoch = 1; rate.seconds < least_seconds || epoch == 1; ++epoch) {
    make_epoch(stream, epoch);
    rate.images += stream.size();
    rate.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  }
  return rate;
}

}  // namespace ekd

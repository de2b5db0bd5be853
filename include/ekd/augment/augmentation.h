// An augmentation turns rows of the training set into a batch. Everything random about an epoch is drawn on the host in
// doubles before its first batch and uploaded once, so that CPU and GPU see the same pictures and no step waits for the
// host.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "ekd/augment/settings.h"
#include "ekd/core/registry.h"
#include "ekd/core/types.h"

namespace ekd {

// What every augmentation needs to know; the images and labels lie on the device that makes the batches.
struct AugmentationContext {
  ImageSet train;
  std::int64_t classes = 0;
  Normalisation normalisation;
  AugmentConfig config;
  std::uint32_t seed = 0;
  std::int64_t batch_size = 0;
  at::ScalarType image_dtype = at::kFloat;  // or kBFloat16: the same images, each value rounded once
};

class Augmentation {
 public:
  virtual ~Augmentation() = default;

  // Draws what the epoch needs. Depends on (seed, epoch) only.
  virtual void begin_epoch(std::int64_t epoch) = 0;

  // The batch of `rows` (int64 [B], on the images' device), the `batch_index`-th of the epoch.
  // images are [views * B, C, H, W] in channels_last layout, of the context's dtype.
  virtual Batch batch(const at::Tensor& rows, std::int64_t batch_index) const = 0;
};

struct AugmentationRow {
  std::string name;
  std::string help;
  std::unique_ptr<Augmentation> (*make)(const AugmentationContext& context);
};

const Registry<AugmentationRow>& augmentation_registry();

// context.config.name chooses. Throws UsageError for an unknown name or settings that do not fit the images.
std::unique_ptr<Augmentation> make_augmentation(const AugmentationContext& context);

}  // namespace ekd

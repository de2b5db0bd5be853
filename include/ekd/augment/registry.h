// The augmentations by name.
#pragma once

#include <memory>
#include <string>

#include "ekd/augment/augmentation.h"
#include "ekd/core/registry.h"

namespace ekd {

struct AugmentationRow {
  std::string name;
  std::string help;
  std::unique_ptr<Augmentation> (*make)(const AugmentationContext& context);
};

const Registry<AugmentationRow>& augmentation_registry();

// context.config.name chooses. Throws UsageError for an unknown name or settings that do not fit the images.
std::unique_ptr<Augmentation> make_augmentation(const AugmentationContext& context);

}  // namespace ekd

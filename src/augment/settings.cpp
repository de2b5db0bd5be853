#include "ekd/augment/settings.h"

#include "ekd/augment/augmentation.h"

namespace ekd {

std::vector<Field> augment_fields(AugmentConfig& augment) {
  return {
      {"augment.name", &augment.name, one_of(augmentation_registry().names()), "--aug", "the augmentation"},
      {"augment.crop_padding", &augment.crop_padding, between(0, 16), "",
       "zeros around the image before the random crop, pixels of a 32×32 image (others in proportion); 0: no crop"},
      {"augment.flip", &augment.flip, between(0, 1), "", "probability of a horizontal flip"},
      {"augment.rotation", &augment.rotation, between(0, 180), "", "rotation uniform in ±this, degrees"},
      {"augment.mixup_alpha", &augment.mixup_alpha, above_up_to(0, 1000), "", "mixup: λ ~ Beta(α, α), one per batch"},
      {"augment.cutmix_alpha", &augment.cutmix_alpha, above_up_to(0, 1000), "", "cutmix: λ ~ Beta(α, α)"},
      {"augment.cutmix_mode", &augment.cutmix_mode, one_of({"image", "batch"}), "",
       "cutmix: a box per image, or one per batch with partners from it"},
      {"augment.cutout_size", &augment.cutout_size, between(1, 1024), "",
       "cutout: side of the square, pixels of a 32×32 image (others in proportion)"},
      {"augment.augmix_width", &augment.augmix_width, between(1, 8), "", "augmix: chains per mixture"},
      {"augment.augmix_depth", &augment.augmix_depth, between(1, 8), "", "augmix: most operations in a chain"},
      {"augment.augmix_severity", &augment.augmix_severity, between(0.1, 10), "",
       "augmix: strongest level of an operation"},
      {"augment.augmix_alpha", &augment.augmix_alpha, above_up_to(0, 1000), "",
       "augmix: Dirichlet(α) over chains, Beta(α, α) against the clean image"},
      {"augment.augmix_js_weight", &augment.augmix_js_weight, at_least(0), "",
       "augmix: weight of the Jensen-Shannon term"},
  };
}

}  // namespace ekd

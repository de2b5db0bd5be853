#include "ekd/augment/augmentation.h"

#include <algorithm>

#include "augment/augmentations.h"
#include "augment/parts.h"
#include "ekd/augment/base_view.h"

namespace ekd {
namespace {

void require(bool fits, const std::string& message) {
  if (!fits) throw UsageError(message);
}

// "augment.crop_padding 40 (80 at this size)"
std::string shown(const char* key, std::int64_t pixels, ImageSize size) {
  const std::int64_t scaled = scaled_pixels(pixels, size);
  return key + (" " + std::to_string(pixels)) +
         (scaled == pixels ? "" : " (" + std::to_string(scaled) + " at this size)");
}

// Throws UsageError for settings that do not fit the images; the range of a setting alone cannot say it.
void check_fit(const AugmentationContext& context) {
  const auto& images = context.train.images;
  TORCH_CHECK(images.defined() && images.dim() == 4, "the training images are [N, C, H, W]");
  TORCH_CHECK(context.batch_size >= 1 && context.classes >= 1, "batch size and classes are at least 1");
  const ImageSize size = size_of(images);
  const std::string these = "images of " + std::to_string(size.height) + "×" + std::to_string(size.width) + " pixels";
  const auto& config = context.config;
  require(context.train.size() > 0, "the training set is empty");
  require(images.size(1) <= 3, "augmentations take images of 1 to 3 channels, not " + std::to_string(images.size(1)));
  require(scaled_pixels(config.crop_padding, size) < std::min(size.height, size.width),
          shown("augment.crop_padding", config.crop_padding, size) + " does not fit " + these +
              "; accepted: less than their shorter side");
  if (config.name == "cutout")
    require(scaled_pixels(config.cutout_size, size) <= std::max(size.height, size.width),
            shown("augment.cutout_size", config.cutout_size, size) + " does not fit " + these +
                "; accepted: at most their longer side");
  if (config.name == "cutmix")
    require(config.cutmix_mode == "image" || config.cutmix_mode == "batch",
            "unknown augment.cutmix_mode '" + config.cutmix_mode + "'; accepted: image, batch");
}

}  // namespace

const Registry<AugmentationRow>& augmentation_registry() {
  static const Registry<AugmentationRow> registry(
      "augmentation",
      {
          {"none", "the base view alone: random crop, flip, small rotation", &make_none},
          {"mixup", "one mixing factor a batch, partners from the batch (Zhang et al., 2018)", &make_mixup},
          {"cutmix", "a box of another image, targets by area (Yun et al., 2019)", &make_cutmix},
          {"cutout", "a square of zeros (DeVries and Taylor, 2017)", &make_cutout},
          {"augmix", "three views: clean and two mixtures of operation chains (Hendrycks et al., 2020)", &make_augmix},
      });
  return registry;
}

std::unique_ptr<Augmentation> make_augmentation(const AugmentationContext& context) {
  const AugmentationRow& row = augmentation_registry().at(context.config.name);
  check_fit(context);
  return row.make(context);
}

}  // namespace ekd

#include "ekd/settings/catalogue.h"

#include "ekd/augment/registry.h"
#include "ekd/data/registry.h"
#include "ekd/losses/combination.h"
#include "ekd/losses/distillation.h"
#include "ekd/models/registry.h"

namespace ekd {

Catalogue catalogue() {
  return {.names = {{"data.dataset", dataset_registry().names()},
                    {"model.name", model_registry().names()},
                    {"augment.name", augmentation_registry().names()},
                    {"distill.loss", distillation_loss_registry().names()},
                    {"distill.kd", combination_registry().names()}},
          .loss_settings = distillation_loss_settings()};
}

}  // namespace ekd

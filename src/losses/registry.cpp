#include "ekd/losses/distillation.h"

namespace ekd {

// Each is defined in the source of its name.
DistillationLossRow kd_row();

const Registry<DistillationLossRow>& distillation_loss_registry() {
  static const Registry<DistillationLossRow> registry("distillation loss", {kd_row()});
  return registry;
}

}  // namespace ekd

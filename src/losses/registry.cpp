#include "ekd/losses/distillation.h"
#include "losses/kd.h"

namespace ekd {

const Registry<DistillationLossRow>& distillation_loss_registry() {
  static const Registry<DistillationLossRow> registry("distillation loss", {kd_row()});
  return registry;
}

std::vector<LossSetting> distillation_loss_settings() {
  std::vector<LossSetting> all;
  for (const auto& row : distillation_loss_registry().rows())
    all.insert(all.end(), row.settings.begin(), row.settings.end());
  return all;
}

}  // namespace ekd

#include "ekd/losses/distillation.h"

namespace ekd {

// kd.cpp
DistillationLossRow kd_row();
DistillationLossRow lskd_row();
DistillationLossRow ttm_row();
DistillationLossRow wttm_row();
// decoupled.cpp
DistillationLossRow dkd_row();
DistillationLossRow lskd_dkd_row();
DistillationLossRow gdkd_row();
DistillationLossRow nkd_row();
DistillationLossRow rld_row();
// relations.cpp
DistillationLossRow dist_row();
DistillationLossRow mlkd_row();
// ikl.cpp
DistillationLossRow ikl_row();
DistillationLossRow gkl_row();
// On features, each in the source of its name.
DistillationLossRow fitnet_row();
DistillationLossRow at_row();
DistillationLossRow sp_row();
DistillationLossRow rkd_row();
DistillationLossRow crd_row();
DistillationLossRow reviewkd_row();
DistillationLossRow itrd_row();

const Registry<DistillationLossRow>& distillation_loss_registry() {
  static const Registry<DistillationLossRow> registry(
      "distillation loss", {kd_row(),   dkd_row(), lskd_row(), lskd_dkd_row(), dist_row(),     nkd_row(),  ttm_row(),
                            wttm_row(), rld_row(), gdkd_row(), ikl_row(),      gkl_row(),      mlkd_row(), fitnet_row(),
                            at_row(),   sp_row(),  rkd_row(),  crd_row(),      reviewkd_row(), itrd_row()});
  return registry;
}

}  // namespace ekd

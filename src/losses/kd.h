// Knowledge distillation from one or several teachers.
// Hinton et al., "Distilling the knowledge in a neural network", 2015; ensembles as in "Improved Distillation with
// Ensemble of Calibrated Models".
#pragma once

#include "ekd/losses/distillation.h"

namespace ekd {

// "kd": T² · the KL divergence of the combined teachers from the student, both softened by the temperature T, summed
// over classes, mean over the batch; computed in float32, exactly at every temperature, and never negative (but for
// sum-softmax, whose target is no distribution).
DistillationLossRow kd_row();

}  // namespace ekd

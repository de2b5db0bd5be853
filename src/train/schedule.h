// The learning rate as a pure function of the position in a training: nothing to save, nothing to restore.
#pragma once

#include <cstdint>

#include "ekd/settings/training.h"

namespace ekd {

// The rate of 0-based `step` of a training of config.epochs · steps_per_epoch steps.
//   step      lr · gamma^(number of milestones <= epoch)
//   cosine    lr · (1 + cos π t) / 2, t = step / steps               Loshchilov and Hutter, 2017
//   onecycle  cosine from lr · onecycle_start up to lr at onecycle_rise, then down to lr · onecycle_final   Smith, 2018
//   constant  lr
// In the first warmup_epochs the rate is multiplied by a linear ramp from 0 (not included) to 1.
double learning_rate_at(const OptimConfig& config, std::int64_t step, std::int64_t steps_per_epoch);

}  // namespace ekd

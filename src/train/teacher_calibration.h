// How well teachers are calibrated, and the temperatures that their logits are divided by in a distillation.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "train/training_setup.h"

namespace ekd {

struct TeacherCalibration {
  double temperature = 1;  // a float32's value, as in Objective
  // {"n", "accuracy", "nll", "ece15", "nll_scaled", "ece15_scaled"} of the validation split, in fp32; the scaled ones
  // only where there is a temperature. Null without such a split.
  nlohmann::ordered_json val;
  std::string warning;  // of a fit, for people; or empty
};

// `setting` is DistillConfig::teacher_temperature. Throws NonFiniteError where the teacher's answers are not finite.
TeacherCalibration calibrate_teacher(const Teacher& teacher, const std::string& setting, SharedSetup& shared);

}  // namespace ekd

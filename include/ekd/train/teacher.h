// Frozen networks that a student learns from.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "ekd/core/device.h"
#include "ekd/models/classifier.h"

namespace ekd {

struct Teacher {
  std::string name;    // NAME of [NAME=]RUN_OR_WEIGHTS, else the run's folder or the file's stem
  std::string path;    // RUN_OR_WEIGHTS
  std::string sha256;  // of its tensors
  std::shared_ptr<Classifier> model;
};

// Loads what distill.teachers names onto `device`, in evaluation mode, without gradients. Throws WeightsError, also
// where a teacher has other classes than the data, and UsageError where two share a name. A path that one of `loaded`
// has is not loaded again: both hold the same network.
std::vector<Teacher> load_teachers(const std::vector<std::string>& texts, std::int64_t classes, at::Device device,
                                   const std::vector<Teacher>& loaded = {});

// Logits in float32 of float images [B, C, H, W], and these features alone; no gradient is recorded.
Outputs teacher_outputs(const Teacher& teacher, const at::Tensor& images, Precision precision,
                        const std::set<std::string>& features = {});

}  // namespace ekd

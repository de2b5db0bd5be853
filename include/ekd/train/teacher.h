// Frozen networks that a student learns from.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ekd/core/device.h"
#include "ekd/models/classifier.h"

namespace ekd {

// "PATH@WEIGHT" taken apart at its last '@'; without one, or where a '/' follows, the weight is 1. Null where there is
// no path or the weight is no number in (0, 1e9].
std::optional<std::pair<std::string, double>> split_weight(const std::string& text);

// A text of distill.teachers, [NAME=]RUN_OR_WEIGHTS[@WEIGHT].
struct TeacherText {
  std::string name, path;  // no name: empty
  double weight = 1;
};

// Takes it apart; a text, or what follows NAME=, that is there on the disk is a path as a whole. Throws UsageError.
TeacherText parse_teacher(const std::string& text);

struct Teacher {
  std::string name;    // the text's, else the run's folder or the file's stem
  std::string path;    // RUN_OR_WEIGHTS
  std::string sha256;  // of its tensors
  std::shared_ptr<Classifier> model;
  Normalisation normalisation;  // that it was trained under; where its file does not say, the data's
  at::Tensor scale, shift;      // [1, C, 1, 1], from the data's normalisation to its own; undefined: they are the same
  double weight = 1;
};

// Loads what distill.teachers names onto `device`, in evaluation mode, without gradients. Throws WeightsError, also
// where a teacher has other classes or channels than the data, and UsageError where two share a name. A path that one
// of `loaded` has is not loaded again: both hold the same network.
std::vector<Teacher> load_teachers(const std::vector<std::string>& texts, const Dataset& data, at::Device device,
                                   const std::vector<Teacher>& loaded = {});

// Logits in float32 of float images [B, C, H, W], and these features alone; no gradient is recorded. The images are
// normalised as the data is: a teacher that was trained under another normalisation sees the same pictures under its
// own.
Outputs teacher_outputs(const Teacher& teacher, const at::Tensor& images, Precision precision,
                        const std::set<std::string>& features = {});

}  // namespace ekd

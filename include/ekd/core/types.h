// The values that rooms exchange. Tensors are handles: copying a struct copies no pixels.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace ekd {

// Labelled images as they lie in the data set.
struct ImageSet {
  at::Tensor images;  // uint8 [N, channels, height, width], contiguous
  at::Tensor labels;  // int64 [N], in [0, classes)

  std::int64_t size() const { return labels.defined() ? labels.size(0) : 0; }
};

// Per channel, of pixels / 255; images of fewer channels have the first. The defaults are the paper's, for CIFAR-100.
struct Normalisation {
  std::array<float, 3> mean{0.5071F, 0.4867F, 0.4408F};
  std::array<float, 3> std{0.2675F, 0.2565F, 0.2761F};

  bool operator==(const Normalisation&) const = default;
  static Normalisation plain() { return {{0, 0, 0}, {1, 1, 1}}; }  // leaves pixels / 255 as they are
};

struct Dataset {
  std::string name;  // "cifar100", "folder"
  ImageSet train, val, test;
  std::int64_t classes = 0;
  std::vector<std::string> class_names;  // `classes` of them, or none
  Normalisation normalisation;
  std::string sha256;  // over the images and labels that were kept: what a resumed run compares
};

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

// The end of the name of a feature that is another one before its activation.
inline constexpr std::string_view kPreactivation = ".preactivation";

// What a network says about images.
struct Outputs {
  at::Tensor logits;                  // [N, classes]
  std::vector<NamedTensor> features;  // named stage outputs [N, C', H', W'] or [N, C']: handles to tensors that exist
                                      // anyway

  // Throws c10::Error where there is no feature of that name.
  const at::Tensor& feature(const std::string& name) const;
};

// Which teachers are asked, by index, and for which features beside their logits.
using TeacherQuestions = std::map<std::size_t, std::set<std::string>>;

// One training batch after augmentation.
struct Batch {
  at::Tensor images;  // float32 or bfloat16 [views * B, C, H, W], normalised, channels_last; the views of one image lie
                      // B apart, the clean one first
  at::Tensor targets;  // float32 [B, classes]; rows sum to 1
  at::Tensor labels;   // int64 [B]; what the images showed before mixing
  at::Tensor indices;  // int64 [B]; their rows in the training set
  std::int64_t views = 1;
  std::vector<Outputs> teachers;  // of the first B images, logits in float32; empty for a teacher that was not asked

  std::int64_t size() const { return labels.size(0); }

  // Every tensor of the batch, in one order; some may be undefined. Whatever copies batches uses this list.
  std::vector<at::Tensor*> tensors();

  // The same batch with the answers to these questions alone.
  Batch with_answers_to(const TeacherQuestions& questions) const;
};

// Makes `place` a copy of `batch` in the memory that the tensors of `place` have: new memory where `place` is empty.
// Throws c10::Error where the two differ in their tensors' shapes.
void copy_in_place(Batch& place, const Batch& batch);

// What a network said about a split.
struct Predictions {
  at::Tensor logits;  // float32 [N, classes]
  at::Tensor labels;  // int64 [N]
};

// One named part of an objective: `value` is the unweighted mean over the batch (0-dim float32).
struct LossTerm {
  std::string name;
  at::Tensor value;
  double weight = 1;  // the same in all steps: a CUDA graph keeps numbers of the host as they were when it was recorded
  at::Tensor ramp;    // a further weight that changes in the training, 0-dim on the device; undefined: 1
};

// Terms stay separate and named until they are logged; total = Σ weight · ramp · value.
struct LossTerms {
  std::vector<LossTerm> terms;
  at::Tensor total() const;
};

}  // namespace ekd

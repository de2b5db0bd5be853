// The values that rooms exchange. Tensors are handles: copying a struct copies no pixels.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace ekd {

// Labelled images as they lie in the data set.
struct ImageSet {
  at::Tensor images;  // uint8 [N, channels, height, width], contiguous
  at::Tensor labels;  // int64 [N], in [0, classes)

  std::int64_t size() const { return labels.defined() ? labels.size(0) : 0; }
};

// Per channel, of pixels / 255. The defaults are the paper's, for CIFAR-100.
struct Normalisation {
  std::array<float, 3> mean{0.5071F, 0.4867F, 0.4408F};
  std::array<float, 3> std{0.2675F, 0.2565F, 0.2761F};
};

struct Dataset {
  std::string name;  // "cifar100", "synthetic"
  ImageSet train, val, test;
  std::int64_t classes = 0;
  std::vector<std::string> class_names;  // `classes` of them, or none
  Normalisation normalisation;
  std::string sha256;  // over the images and labels that were kept: what a resumed run compares
};

// One training batch after augmentation.
struct Batch {
  at::Tensor images;  // float32 or bfloat16 [views * B, C, H, W], normalised, channels_last; the views of one image lie
                      // B apart, the clean one first
  at::Tensor targets;  // float32 [B, classes]; rows sum to 1
  at::Tensor labels;   // int64 [B]; what the images showed before mixing
  std::int64_t views = 1;
  std::vector<at::Tensor> teacher_logits;  // float32 [B, classes] per teacher, of the first B images; or undefined

  std::int64_t size() const { return labels.size(0); }
};

// What a network said about a split.
struct Predictions {
  at::Tensor logits;  // float32 [N, classes]
  at::Tensor labels;  // int64 [N]
};

// One named part of an objective: `value` is the unweighted mean over the batch (0-dim float32).
struct LossTerm {
  std::string name;
  at::Tensor value;
  double weight = 1;
};

// Terms stay separate and named until they are logged; total = Σ weight · value.
struct LossTerms {
  std::vector<LossTerm> terms;
  at::Tensor total() const;
};

struct NamedTensor {
  std::string name;
  at::Tensor tensor;
};

}  // namespace ekd

// What a classifier was sure of, sample by sample, and whether it was right: the input of calibration and of selective
// prediction.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace ekd {

struct Top1 {
  std::vector<double> confidences;  // the largest probability, in [0, 1]
  std::vector<std::uint8_t> hits;   // 1 where its class (of several the lowest) is the label

  std::size_t size() const { return confidences.size(); }
};

// probs [N, classes] of any floating dtype, rows summing to 1; labels int64 [N].
Top1 top1(const at::Tensor& probs, const at::Tensor& labels);

}  // namespace ekd

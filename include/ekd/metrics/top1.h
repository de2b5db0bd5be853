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

// The samples by confidence, ascending or descending; equal ones keep their order.
std::vector<std::uint32_t> ranking(const std::vector<double>& confidences, bool descending = false);

// The samples themselves, ascending.
Top1 ascending(const Top1& samples);

}  // namespace ekd

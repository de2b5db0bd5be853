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

// Samples in an order of confidence. That order says nothing about equals, so each of them counts their mean: what
// every order of theirs would give on average, as in ROC curves with ties (Fawcett, "An introduction to ROC analysis",
// 2006).
struct RankedSamples {
  std::vector<double> confidences;
  std::vector<double> hits;  // in [0, 1]: the share of hits among the samples of that confidence
};

RankedSamples ranked(const Top1& samples, bool descending = false);

}  // namespace ekd

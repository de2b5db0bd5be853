// What a classifier was sure of, sample by sample, and whether it was right: the input of calibration; and selective
// prediction: how wrong the answers are if only the surest are given.
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

// Area under the risk-coverage curve (El-Yaniv and Wiener, JMLR 2010; Geifman and El-Yaniv, NeurIPS 2017): samples by
// descending confidence, risk at coverage i/n = share of errors among the first i; the trapezoid rule from 1/n to 1,
// divided by 1 − 1/n. A threshold on the confidence takes equals all at once; between, each of them counts their mean
// error, so the samples' order does not matter. With one sample: its error. Throws c10::Error without any.
double area_under_risk_coverage(const Top1& samples);

}  // namespace ekd

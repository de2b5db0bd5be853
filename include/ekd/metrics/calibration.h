// Calibration: does a confidence of .8 mean right in 8 of 10 cases? And selective prediction: how wrong the answers are
// if only the surest are given. Everything in doubles.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace ekd {

// What a classifier was sure of, sample by sample, and whether it was right.
struct Top1 {
  std::vector<double> confidences;  // the largest probability, in [0, 1]
  std::vector<std::uint8_t> hits;   // 1 where its class (of several the lowest) is the label

  std::size_t size() const { return confidences.size(); }
};

// probs [N, classes] of any floating dtype, rows summing to 1; labels int64 [N].
Top1 top1(const at::Tensor& probs, const at::Tensor& labels);

// The samples by ascending confidence; equal ones keep their order.
std::vector<std::uint32_t> ranking(const std::vector<double>& confidences);

// Samples by ascending confidence. That order says nothing about equals, so each of them counts their mean: what
// every order of theirs would give on average, as in ROC curves with ties (Fawcett, "An introduction to ROC analysis",
// 2006).
struct RankedSamples {
  std::vector<double> confidences;
  std::vector<double> hits;  // in [0, 1]: the share of hits among the samples of that confidence
};

RankedSamples ranked(const Top1& samples);

// Area under the risk-coverage curve (El-Yaniv and Wiener, JMLR 2010; Geifman and El-Yaniv, NeurIPS 2017): samples by
// descending confidence, risk at coverage i/n = share of errors among the first i; the trapezoid rule from 1/n to 1,
// divided by 1 − 1/n. A threshold on the confidence takes equals all at once; between, each of them counts their mean
// error, so the samples' order does not matter. With one sample: its error. Throws c10::Error without any.
double area_under_risk_coverage(const Top1& samples);
double area_under_risk_coverage(const RankedSamples& ascending);

// Bins: M equal widths, bin b holds confidences in (edge b, edge b + 1], 0 belongs to the first. Edge b is the double
// nearest to b/M, as numpy.arange(M + 1) / M has it, and not b · (1/M), which may lie beside it: a confidence of 1/6 is
// on the first edge of six bins. n_b samples in bin b, acc_b their share of hits, conf_b their mean confidence; empty
// bins contribute nothing.
inline double bin_edge(int bin, int num_bins) { return static_cast<double>(bin) / num_bins; }

// One entry per bin, in ascending order of confidence.
struct ReliabilityBins {
  std::vector<std::int64_t> counts;
  std::vector<double> accuracies;   // 0 where the bin is empty
  std::vector<double> confidences;  // 0 where the bin is empty
  std::int64_t total = 0;
};

// num_bins ≥ 1.
ReliabilityBins reliability_bins(const Top1& samples, int num_bins);
ReliabilityBins reliability_bins(const at::Tensor& probs, const at::Tensor& labels, int num_bins);  // as top1()

// ECE = Σ n_b/n · |acc_b − conf_b|. Naeini et al., AAAI 2015; Guo et al., ICML 2017. 0 without samples.
double expected_calibration_error(const ReliabilityBins& bins);

// OE = Σ n_b/n · conf_b · max(conf_b − acc_b, 0). Thulasidasan et al., "On mixup training", NeurIPS 2019.
double overconfidence_error(const ReliabilityBins& bins);

// MCE = max |acc_b − conf_b| over the bins that hold samples.
double maximum_calibration_error(const ReliabilityBins& bins);

// ECE over num_bins groups of consecutive confidences, as equal in size as can be: the first n mod num_bins groups hold
// one sample more. Nixon et al., "Measuring calibration in deep learning", 2019. Equal confidences that a border parts
// are shared out by their mean: the samples' order does not matter.
double adaptive_calibration_error(const Top1& samples, int num_bins);
double adaptive_calibration_error(const RankedSamples& ascending, int num_bins);

// Mean over the classes k of the ECE of p_k against [label = k]. Kull et al., NeurIPS 2019. probs, labels as for
// top1().
double classwise_calibration_error(const at::Tensor& probs, const at::Tensor& labels, int num_bins);

}  // namespace ekd

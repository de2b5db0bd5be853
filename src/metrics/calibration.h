// Calibration: does a confidence of .8 mean right in 8 of 10 cases? Everything in doubles.
//
// Bins: M equal widths, bin b holds confidences in (edge b, edge b + 1], 0 belongs to the first. Edge b is the double
// nearest to b/M, as numpy.arange(M + 1) / M has it, and not b · (1/M), which may lie beside it: a confidence of 1/6 is
// on the first edge of six bins. n_b samples in bin b, acc_b their share of hits, conf_b their mean confidence; empty
// bins contribute nothing.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ekd/metrics/top1.h"

namespace ekd {

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

// How far a number can be trusted: spread over seeds, intervals over test images, the calibration error that is left
// when nothing is wrong, and the difference of two recipes. Efron and Tibshirani, "An introduction to the bootstrap",
// 1993; Roelofs et al., "Mitigating bias in calibration error estimation", AISTATS 2022. Counted draws: the same
// numbers every time, whatever the threads.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <vector>

#include "ekd/metrics/calibration.h"
#include "ekd/metrics/metrics.h"

namespace ekd {

// The draws behind intervals over test images: which images a round takes, and what decides a simulated hit. Counted
// draws: a round's are the same whoever computes it, and whatever was computed before.

struct ResamplingOptions {
  int rounds = 1000;
  std::uint32_t seed = 0;
};

// times[i] = how often image i is drawn in `round`, N draws with replacement from N images. Scaling 32 random bits
// favours an image by less than N / 2^32.
void draw_images(std::int64_t round, const ResamplingOptions& options, std::vector<std::uint32_t>& times);

// bits[i] = 32 random bits of image i in `round`, none of which draw_images uses.
void draw_bits(std::int64_t round, const ResamplingOptions& options, std::vector<std::uint32_t>& bits);

struct Summary {
  double mean = 0;
  std::optional<double> std;  // of the sample, over n − 1; none for one value
};

// At least one value.
Summary summarise(const std::vector<double>& values);

// Linear between order statistics, as numpy.quantile; share in [0, 1]; at least one value.
double quantile(std::vector<double> values, double share);

// What resampling says about a number: a 95 % interval and its standard deviation.
struct Spread {
  double low = 0, high = 0, std = 0;
};

// The 2.5 % and 97.5 % quantiles of resampled values and their standard deviation.
Spread spread_of(const std::vector<double>& values);

// The mean of each column over images in every round, images drawn with replacement. A round's draws depend on N and
// the options alone: rows of the same images are compared by subtracting round by round. columns [any][N], N ≥ 1,
// finite; the result [any][rounds].
std::vector<std::vector<double>> resampled_means(const std::vector<std::vector<double>>& columns,
                                                 const ResamplingOptions& options = {});

// spread_of each column's resampled_means.
std::vector<Spread> bootstrap_means(const std::vector<std::vector<double>>& columns,
                                    const ResamplingOptions& options = {});

// The binned metrics that have an interval (MetricRow::of_bin) in every round, averaged over the members, from the
// draws of resampled_means; members as below.
std::map<MetricKey, std::vector<double>> resampled_calibration(const std::vector<Top1>& members,
                                                               const std::vector<int>& bins,
                                                               const ResamplingOptions& options = {});

struct CalibrationSpread {
  Spread mean;            // of the mean over the members
  double member_std = 0;  // of one member: root of the mean variance
};

// The same metrics, averaged over the members (networks of several seeds, N ≥ 1 answers each, to the same images in the
// same order); the images are resampled for all members together. A resampled ECE is too large by what resampling adds
// to every bin's noise: at 100 bins more than its whole interval. So the quantiles are moved by (the estimate − the
// mean of the resampled ones), and end at 0.
std::map<MetricKey, CalibrationSpread> bootstrap_calibration(const std::vector<Top1>& members,
                                                             const std::vector<int>& bins,
                                                             const ResamplingOptions& options = {});

struct CalibrationFloor {
  std::vector<double> members;  // the mean value of each member
  double low = 0, high = 0;     // 95 % of the simulated values, averaged over the members, lie here
};

// The values of the binned metrics with an interval (MetricRow::of_bin) that perfectly calibrated networks of the same
// confidences show: an image is a hit with the probability that is its confidence, decided by one uniform number an
// image for all members.
std::map<MetricKey, CalibrationFloor> calibration_floor(const std::vector<Top1>& members, const std::vector<int>& bins,
                                                        const ResamplingOptions& options = {});

// The quantile of Student's distribution; share in (0, 1), degrees > 0, which need be no whole number and may be
// infinite: the normal distribution's.
double student_quantile(double share, double degrees);

struct DifferenceSpread {
  double sigma = 0;                                          // standard deviation of the mean difference
  double degrees = std::numeric_limits<double>::infinity();  // of freedom, with which it is known

  // The mean difference ± this is its 95 % interval.
  double margin() const;
};

// Of a variance that is known and one that was estimated with so many degrees of freedom: Welch and Satterthwaite's
// degrees (Satterthwaite, 1946) of their sum.
DifferenceSpread spread_of_sum(double known, double estimated, double degrees);

// differences: of each seed, on all images; rounds [seed][round]: the same on resampled images, in each round the same
// images for all seeds.
//
// A seed's difference is the recipes' + what the images do to all seeds alike + what the seed does + what the images do
// to this seed alone. Let C, G, I be the variances of the three. That of the mean over n seeds is C + (G + I)/n. The
// variance s² of the differences over seeds estimates G + I; the bootstrap tells C + I of each seed and C + I/n of
// their mean, and so both C and I. σ² = C + max(s², I)/n: a sum of what is known and what n − 1 degrees of freedom
// estimate. With one seed nothing is known of G, σ² = C + I, and the difference is that of two networks, not of two
// recipes.
DifferenceSpread difference_spread(const std::vector<double>& differences,
                                   const std::vector<std::vector<double>>& rounds);

}  // namespace ekd

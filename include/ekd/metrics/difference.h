// How far the difference of two recipes can be trusted, measured with a few seeds of each on the same test images.
#pragma once

#include <limits>
#include <vector>

namespace ekd {

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

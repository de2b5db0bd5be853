// Gamma, Beta and Dirichlet variates from counted uniforms, in doubles on the host. Marsaglia and Tsang, "A simple
// method for generating gamma variables", ACM TOMS 2000; shapes below 1 are boosted in log space, so that no shape
// underflows.
#pragma once

#include <cstdint>

#include "ekd/core/random.h"

namespace ekd {

// The draws of one row (an image, or a batch) in one epoch; columns tell them apart.
class RowDraws {
 public:
  RowDraws(const CountedRandom& random, std::uint32_t epoch, std::uint32_t row)
      : random_(random), epoch_(epoch), row_(row) {}

  // In (0, 1).
  double uniform(std::uint32_t column, std::uint32_t attempt = 0) const {
    return random_.uniform(epoch_, row_, column, attempt);
  }
  // In {0, …, count - 1}.
  std::int64_t below(std::int64_t count, std::uint32_t column) const {
    return random_.below(count, epoch_, row_, column);
  }
  bool chance(double probability, std::uint32_t column) const { return uniform(column) < probability; }
  std::uint64_t bits(std::uint32_t column) const { return random_.bits(epoch_, row_, column); }
  // N(0, 1).
  double normal(std::uint32_t column, std::uint32_t attempt = 0) const;

 private:
  CountedRandom random_;
  std::uint32_t epoch_, row_;
};

// Columns that one gamma variate uses.
constexpr std::uint32_t kGammaColumns = 3;

// Gamma(shape, scale 1), shape > 0; from columns [column, column + 3).
double gamma_variate(const RowDraws& draws, std::uint32_t column, double shape);

// count weights that sum to 1, from Dirichlet(alpha, …), alpha > 0; from columns [column, column + 3 · count).
void dirichlet_variate(const RowDraws& draws, std::uint32_t column, double alpha, double* weights, int count);

// Beta(alpha, alpha) in [0, 1], alpha > 0; from columns [column, column + 6). Beta(1, 1) is the uniform itself.
double beta_variate(const RowDraws& draws, std::uint32_t column, double alpha);

// A permutation of {0, …, size - 1} by stable sort of 64-bit keys, from columns [column, column + size).
void permutation(const RowDraws& draws, std::uint32_t column, std::int64_t size, std::int64_t* order);

}  // namespace ekd

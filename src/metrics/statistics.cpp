#include "ekd/metrics/statistics.h"

#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ekd/core/random.h"
#include "ekd/metrics/calibration.h"
#include "ekd/metrics/registry.h"

namespace ekd {
namespace {

// The two uses of draws. This is the counter word that in training is the epoch, so that the uses share no draw.
enum class Use : std::uint32_t { kImages = 0, kHits = 1 };

// Calls take(i, 32 random bits) for each i in [0, n): a block serves four of them.
template <class Take>
void for_each_draw(Use use, std::int64_t round, const ResamplingOptions& options, std::size_t n, Take take) {
  const CountedRandom random(options.seed, RandomStream::kBootstrap);
  for (std::size_t i = 0; i < n; i += 4) {
    const PhiloxBlock block = random.block(static_cast<std::uint32_t>(use), static_cast<std::uint32_t>(round),
                                           static_cast<std::uint32_t>(i / 4));
    for (std::size_t j = i; j < std::min(i + 4, n); ++j) take(j, block[j - i]);
  }
}

constexpr std::int64_t kRoundsPerChunk = 16;

double mean_of(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

void draw_images(std::int64_t round, const ResamplingOptions& options, std::vector<std::uint32_t>& times) {
  std::fill(times.begin(), times.end(), 0);
  for_each_draw(Use::kImages, round, options, times.size(),
                [&](std::size_t, std::uint32_t bits) { ++times[std::uint64_t{bits} * times.size() >> 32]; });
}

void draw_bits(std::int64_t round, const ResamplingOptions& options, std::vector<std::uint32_t>& bits) {
  for_each_draw(Use::kHits, round, options, bits.size(), [&](std::size_t i, std::uint32_t drawn) { bits[i] = drawn; });
}

Summary summarise(const std::vector<double>& values) {
  TORCH_CHECK(!values.empty(), "no values to summarise");
  Summary summary{mean_of(values), std::nullopt};
  if (values.size() < 2) return summary;
  double sum = 0;
  for (const double value : values) sum += (value - summary.mean) * (value - summary.mean);
  summary.std = std::sqrt(sum / static_cast<double>(values.size() - 1));
  return summary;
}

double quantile(std::vector<double> values, double share) {
  TORCH_CHECK(!values.empty() && share >= 0 && share <= 1, "no quantile ", share, " of ", values.size(), " values");
  std::sort(values.begin(), values.end());
  const double position = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (position - static_cast<double>(below)) * (values[above] - values[below]);
}

Spread spread_of(const std::vector<double>& values) {
  return {quantile(values, 0.025), quantile(values, 0.975), summarise(values).std.value_or(0)};
}

std::vector<std::vector<double>> resampled_means(const std::vector<std::vector<double>>& columns,
                                                 const ResamplingOptions& options) {
  TORCH_CHECK(!columns.empty() && !columns[0].empty() && options.rounds >= 1, "resampling needs values");
  const std::size_t n = columns[0].size();
  for (const auto& column : columns)
    TORCH_CHECK(column.size() == n, "columns of ", n, " and ", column.size(), " values");
  std::vector<std::vector<double>> means(columns.size(), std::vector<double>(options.rounds));
  at::parallel_for(0, options.rounds, kRoundsPerChunk, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint32_t> times(n);
    for (std::int64_t round = begin; round < end; ++round) {
      draw_images(round, options, times);
      for (std::size_t c = 0; c < columns.size(); ++c) {
        double sum = 0;
        for (std::size_t i = 0; i < n; ++i) sum += times[i] * columns[c][i];
        means[c][round] = sum / static_cast<double>(n);
      }
    }
  });
  return means;
}

std::vector<Spread> bootstrap_means(const std::vector<std::vector<double>>& columns, const ResamplingOptions& options) {
  std::vector<Spread> spreads;
  for (const auto& values : resampled_means(columns, options)) spreads.push_back(spread_of(values));
  return spreads;
}

namespace {

// Intervals and floors of binned metrics.

std::vector<const MetricRow*> metrics_of_bins() {
  std::vector<const MetricRow*> rows;
  for (const auto& row : metric_registry().rows())
    if (row.of_bin != nullptr) rows.push_back(&row);
  return rows;
}

// A member's answers by ascending confidence, in which every bin is a range, whatever the number of bins.
class RankedAnswers {
 public:
  RankedAnswers(const Top1& answers, const std::vector<int>& bins) : order_(ranking(answers.confidences)) {
    for (const auto i : order_) {
      confidences_.push_back(answers.confidences[i]);
      hits_.push_back(answers.hits[i]);
      const double probability = std::clamp(answers.confidences[i], 0.0, 1.0);
      hit_below_.push_back(static_cast<std::uint64_t>(std::ldexp(probability, 32)));
    }
    for (const int count : bins) begins_.push_back(begins_of(count));
  }

  // Each image counted `times` times. For each number of bins one value of each metric.
  void resampled(const std::vector<const MetricRow*>& metrics, const std::vector<std::uint32_t>& times,
                 std::vector<std::uint32_t>& scratch, double* values) const {
    for (std::size_t i = 0; i < order_.size(); ++i) scratch[i] = times[order_[i]];
    for (const auto& begins : begins_)
      values = sum_over_bins(
          metrics, begins, [&](std::size_t i) { return scratch[i]; },
          [&](std::size_t i) { return scratch[i] * hits_[i]; }, values);
  }

  // A hit where an image's random bits fall below its confidence.
  void simulated(const std::vector<const MetricRow*>& metrics, const std::vector<std::uint32_t>& bits,
                 std::vector<std::uint32_t>& scratch, double* values) const {
    for (std::size_t i = 0; i < order_.size(); ++i) scratch[i] = bits[order_[i]] < hit_below_[i];
    for (const auto& begins : begins_)
      values = sum_over_bins(
          metrics, begins, [](std::size_t) { return 1U; }, [&](std::size_t i) { return scratch[i]; }, values);
  }

 private:
  std::vector<std::size_t> begins_of(int count) const {
    TORCH_CHECK(count >= 1, "calibration needs at least one bin, not ", count);
    std::vector<std::size_t> begins{0};
    for (int b = 1; b < count; ++b) {
      const auto first = std::upper_bound(confidences_.begin(), confidences_.end(), bin_edge(b, count));
      begins.push_back(first - confidences_.begin());
    }
    begins.push_back(confidences_.size());
    return begins;
  }

  // times_of(i) and hits_of(i): how often the i-th image counts, and how often as a hit. Returns the end of the values.
  template <class Times, class Hits>
  double* sum_over_bins(const std::vector<const MetricRow*>& metrics, const std::vector<std::size_t>& begins,
                        Times times_of, Hits hits_of, double* values) const {
    std::fill(values, values + metrics.size(), 0.0);
    for (std::size_t b = 0; b + 1 < begins.size(); ++b) {
      std::uint64_t count = 0, hits = 0;
      double confidence = 0;
      for (std::size_t i = begins[b]; i < begins[b + 1]; ++i) {
        count += times_of(i);
        hits += hits_of(i);
        confidence += times_of(i) * confidences_[i];
      }
      if (count == 0) continue;
      const BinTally tally{static_cast<double>(count), static_cast<double>(hits), confidence};
      for (std::size_t k = 0; k < metrics.size(); ++k) values[k] += metrics[k]->of_bin(tally);
    }
    for (std::size_t k = 0; k < metrics.size(); ++k) values[k] /= static_cast<double>(order_.size());
    return values + metrics.size();
  }

  std::vector<std::uint32_t> order_, hits_;
  std::vector<double> confidences_;
  std::vector<std::uint64_t> hit_below_;  // in 1 / 2^32
  std::vector<std::vector<std::size_t>> begins_;
};

// The values of every round, member, number of bins and metric.
class Rounds {
 public:
  Rounds(const std::vector<Top1>& members, const std::vector<int>& bins, int rounds)
      : metrics_(metrics_of_bins()), images_(members.empty() ? 0 : members[0].size()), rounds_(rounds) {
    TORCH_CHECK(images_ >= 1 && rounds >= 1, "resampling needs answers");
    for (const int count : bins)
      for (const auto* metric : metrics_) keys_.push_back({metric->name, count});
    for (const Top1& member : members) {
      TORCH_CHECK(member.size() == images_, "members with ", images_, " and ", member.size(), " answers");
      answers_.emplace_back(member, bins);
    }
    values_.resize(rounds * answers_.size() * keys_.size());
  }

  // prepare(round, drawn [N]), then for each member compute(answers, metrics, drawn, scratch [N], its values).
  template <class Prepare, class Compute>
  void run(Prepare prepare, Compute compute) {
    at::parallel_for(0, rounds_, kRoundsPerChunk, [&](std::int64_t begin, std::int64_t end) {
      std::vector<std::uint32_t> drawn(images_), scratch(images_);
      for (std::int64_t round = begin; round < end; ++round) {
        prepare(round, drawn);
        for (std::size_t m = 0; m < answers_.size(); ++m)
          compute(answers_[m], metrics_, drawn, scratch, &at(round, m, 0));
      }
    });
  }

  std::size_t members() const { return answers_.size(); }
  const std::vector<MetricKey>& keys() const { return keys_; }

  // The values of the k-th key, one for each round: of one member, or the mean over them.
  std::vector<double> of_member(std::size_t m, std::size_t k) {
    std::vector<double> values(rounds_);
    for (int round = 0; round < rounds_; ++round) values[round] = at(round, m, k);
    return values;
  }
  std::vector<double> of_all(std::size_t k) {
    std::vector<double> means(rounds_);
    for (std::size_t m = 0; m < answers_.size(); ++m) {
      const auto values = of_member(m, k);
      for (int round = 0; round < rounds_; ++round)
        means[round] += values[round] / static_cast<double>(answers_.size());
    }
    return means;
  }

 private:
  double& at(std::int64_t round, std::size_t m, std::size_t k) {
    return values_[(round * answers_.size() + m) * keys_.size() + k];
  }

  std::vector<const MetricRow*> metrics_;
  std::size_t images_;
  int rounds_;
  std::vector<MetricKey> keys_;
  std::vector<RankedAnswers> answers_;
  std::vector<double> values_;
};

void resample(Rounds& rounds, const ResamplingOptions& options, bool once_each) {
  const auto draw = [&](std::int64_t round, std::vector<std::uint32_t>& times) {
    if (once_each) {
      std::fill(times.begin(), times.end(), 1);
    } else {
      draw_images(round, options, times);
    }
  };
  rounds.run(draw, [](const RankedAnswers& answers, const auto& metrics, const auto& times, auto& scratch,
                      double* values) { answers.resampled(metrics, times, scratch, values); });
}

// The quantiles moved so that the mean of the resampled values falls on the estimate.
Spread centred_spread(const std::vector<double>& values, double estimate) {
  Spread spread = spread_of(values);
  const double bias = summarise(values).mean - estimate;
  spread.low = std::max(spread.low - bias, 0.0);
  spread.high = std::max(spread.high - bias, 0.0);
  return spread;
}

double root_mean_variance(Rounds& rounds, std::size_t k) {
  double sum = 0;
  for (std::size_t m = 0; m < rounds.members(); ++m) {
    const double std = summarise(rounds.of_member(m, k)).std.value_or(0);
    sum += std * std;
  }
  return std::sqrt(sum / static_cast<double>(rounds.members()));
}

}  // namespace

std::map<MetricKey, CalibrationSpread> bootstrap_calibration(const std::vector<Top1>& members,
                                                             const std::vector<int>& bins,
                                                             const ResamplingOptions& options) {
  Rounds rounds(members, bins, options.rounds), estimate(members, bins, 1);
  resample(rounds, options, false);
  resample(estimate, options, true);
  std::map<MetricKey, CalibrationSpread> spreads;
  for (std::size_t k = 0; k < rounds.keys().size(); ++k) {
    spreads[rounds.keys()[k]] = {centred_spread(rounds.of_all(k), estimate.of_all(k).front()),
                                 root_mean_variance(rounds, k)};
  }
  return spreads;
}

std::map<MetricKey, std::vector<double>> resampled_calibration(const std::vector<Top1>& members,
                                                               const std::vector<int>& bins,
                                                               const ResamplingOptions& options) {
  Rounds rounds(members, bins, options.rounds);
  resample(rounds, options, false);
  std::map<MetricKey, std::vector<double>> resampled;
  for (std::size_t k = 0; k < rounds.keys().size(); ++k) resampled[rounds.keys()[k]] = rounds.of_all(k);
  return resampled;
}

std::map<MetricKey, CalibrationFloor> calibration_floor(const std::vector<Top1>& members, const std::vector<int>& bins,
                                                        const ResamplingOptions& options) {
  Rounds rounds(members, bins, options.rounds);
  rounds.run([&](std::int64_t round, auto& bits) { draw_bits(round, options, bits); },
             [](const RankedAnswers& answers, const auto& metrics, const auto& bits, auto& scratch, double* values) {
               answers.simulated(metrics, bits, scratch, values);
             });
  std::map<MetricKey, CalibrationFloor> floors;
  for (std::size_t k = 0; k < rounds.keys().size(); ++k) {
    CalibrationFloor& floor = floors[rounds.keys()[k]];
    for (std::size_t m = 0; m < members.size(); ++m) floor.members.push_back(summarise(rounds.of_member(m, k)).mean);
    const Spread spread = spread_of(rounds.of_all(k));
    floor.low = spread.low;
    floor.high = spread.high;
  }
  return floors;
}

namespace {

// Differences of recipes.

constexpr double kLargeDegrees = 1e7;  // beyond, Student's distribution is the normal one to seven digits

// The continued fraction of the incomplete beta function, by Lentz's method (Numerical Recipes, 6.4).
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300;
  const auto away_from_zero = [](double value) { return std::abs(value) < kTiny ? kTiny : value; };
  double c = 1, d = 1 / away_from_zero(1 - (a + b) * x / (a + 1)), fraction = d;
  for (int m = 1; m < 100'000; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    double step = 1;
    for (const double term : {even, odd}) {
      d = 1 / away_from_zero(1 + term * d);
      c = away_from_zero(1 + term / c);
      step = c * d;
      fraction *= step;
    }
    if (std::abs(step - 1) < 1e-14) break;
  }
  return fraction;
}

// The regularised incomplete beta function I_x(a, b).
double incomplete_beta(double a, double b, double x) {
  if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x));
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
  return 1 - front * beta_fraction(b, a, 1 - x) / b;
}

// P(T > t), t ≥ 0.
double upper_tail(double t, double degrees) {
  if (degrees > kLargeDegrees) return std::erfc(t / std::sqrt(2.0)) / 2;
  return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t)) / 2;
}

double variance(const std::vector<double>& values) {
  const double std = summarise(values).std.value_or(0);
  return std * std;
}

}  // namespace

double student_quantile(double share, double degrees) {
  TORCH_CHECK(share > 0 && share < 1 && degrees > 0, "no quantile ", share, " with ", degrees, " degrees of freedom");
  if (share < 0.5) return -student_quantile(1 - share, degrees);
  double low = 0, high = 1;
  while (upper_tail(high, degrees) > 1 - share && high < 1e300) high *= 2;
  for (int i = 0; i < 200 && high - low > 1e-13 * high; ++i) {
    const double middle = (low + high) / 2;
    (upper_tail(middle, degrees) > 1 - share ? low : high) = middle;
  }
  return (low + high) / 2;
}

double DifferenceSpread::margin() const { return sigma == 0 ? 0 : sigma * student_quantile(0.975, degrees); }

DifferenceSpread spread_of_sum(double known, double estimated, double degrees) {
  const double all = known + estimated;
  if (estimated == 0) return {std::sqrt(all)};
  return {std::sqrt(all), degrees * (all / estimated) * (all / estimated)};
}

DifferenceSpread difference_spread(const std::vector<double>& differences,
                                   const std::vector<std::vector<double>>& rounds) {
  TORCH_CHECK(!differences.empty() && rounds.size() == differences.size(), "differences of ", differences.size(),
              " seeds and rounds of ", rounds.size());
  const auto n = static_cast<double>(rounds.size());
  std::vector<double> means(rounds[0].size());
  double of_one = 0;  // C + I
  for (const auto& seed : rounds) {
    TORCH_CHECK(seed.size() == means.size(), "seeds of ", means.size(), " and ", seed.size(), " rounds");
    for (std::size_t round = 0; round < means.size(); ++round) means[round] += seed[round] / n;
    of_one += variance(seed) / n;
  }
  const double of_mean = variance(means);  // C + I/n
  if (rounds.size() == 1) return {std::sqrt(of_mean)};
  const double common = std::max((n * of_mean - of_one) / (n - 1), 0.0);
  const double own = std::max(of_one - common, 0.0);
  return spread_of_sum(common, std::max(variance(differences), own) / n, n - 1);
}

}  // namespace ekd

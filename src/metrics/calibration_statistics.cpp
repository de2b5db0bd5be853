// Intervals and floors of binned metrics: statistics.h says what they are.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "ekd/metrics/registry.h"
#include "ekd/metrics/statistics.h"
#include "metrics/calibration.h"

namespace ekd {
namespace {

constexpr std::int64_t kCalibrationChunk = 16;

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
    at::parallel_for(0, rounds_, kCalibrationChunk, [&](std::int64_t begin, std::int64_t end) {
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

}  // namespace ekd

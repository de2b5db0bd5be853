// Intervals and floor of binned calibration errors: statistics.h says what they are.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ekd/metrics/statistics.h"

namespace ekd {
namespace {

constexpr std::int64_t kCalibrationChunk = 16;

struct BinErrors {
  double ece = 0, oe = 0;
};

// A member's answers by ascending confidence, in which every bin is a range, whatever the number of bins.
class RankedAnswers {
 public:
  RankedAnswers(const Top1& answers, const std::vector<int>& bins) : order_(answers.size()) {
    std::iota(order_.begin(), order_.end(), 0U);
    const auto less = [&](auto a, auto b) { return answers.confidences[a] < answers.confidences[b]; };
    std::stable_sort(order_.begin(), order_.end(), less);
    for (const auto i : order_) {
      confidences_.push_back(answers.confidences[i]);
      hits_.push_back(answers.hits[i]);
      const double probability = std::clamp(answers.confidences[i], 0.0, 1.0);
      hit_below_.push_back(static_cast<std::uint64_t>(std::ldexp(probability, 32)));
    }
    for (const int count : bins) begins_.push_back(begins_of(count));
  }

  // Each image counted `times` times; one result for each number of bins.
  void resampled(const std::vector<std::uint32_t>& times, std::vector<std::uint32_t>& scratch,
                 BinErrors* errors) const {
    for (std::size_t i = 0; i < order_.size(); ++i) scratch[i] = times[order_[i]];
    for (const auto& begins : begins_) *errors++ = errors_of(begins, scratch);
  }

  // A hit where an image's random bits fall below its confidence; one result for each number of bins.
  void simulated(const std::vector<std::uint32_t>& bits, std::vector<std::uint32_t>& scratch, BinErrors* errors) const {
    for (std::size_t i = 0; i < order_.size(); ++i) scratch[i] = bits[order_[i]] < hit_below_[i];
    for (const auto& begins : begins_) errors++->ece = ece_of(begins, scratch);
  }

 private:
  // The edges of reliability_bins.
  std::vector<std::size_t> begins_of(int count) const {
    TORCH_CHECK(count >= 1, "calibration needs at least one bin, not ", count);
    std::vector<std::size_t> begins{0};
    const double width = 1.0 / count;
    for (int b = 1; b < count; ++b) {
      const auto first = std::upper_bound(confidences_.begin(), confidences_.end(), b * width);
      begins.push_back(first - confidences_.begin());
    }
    begins.push_back(confidences_.size());
    return begins;
  }

  BinErrors errors_of(const std::vector<std::size_t>& begins, const std::vector<std::uint32_t>& times) const {
    BinErrors errors;
    for (std::size_t b = 0; b + 1 < begins.size(); ++b) {
      std::uint64_t count = 0, hits = 0;
      double confidence = 0;
      for (std::size_t i = begins[b]; i < begins[b + 1]; ++i) {
        count += times[i];
        hits += times[i] * hits_[i];
        confidence += times[i] * confidences_[i];
      }
      if (count == 0) continue;
      const double excess = confidence - static_cast<double>(hits);
      errors.ece += std::abs(excess);
      errors.oe += confidence / static_cast<double>(count) * std::max(excess, 0.0);
    }
    const auto n = static_cast<double>(order_.size());
    return {errors.ece / n, errors.oe / n};
  }

  double ece_of(const std::vector<std::size_t>& begins, const std::vector<std::uint32_t>& hits) const {
    double error = 0;
    for (std::size_t b = 0; b + 1 < begins.size(); ++b) {
      double confidence = 0;
      std::uint64_t right = 0;
      for (std::size_t i = begins[b]; i < begins[b + 1]; ++i) {
        right += hits[i];
        confidence += confidences_[i];
      }
      error += std::abs(confidence - static_cast<double>(right));
    }
    return error / static_cast<double>(order_.size());
  }

  std::vector<std::uint32_t> order_, hits_;
  std::vector<double> confidences_;
  std::vector<std::uint64_t> hit_below_;  // in 1 / 2^32
  std::vector<std::vector<std::size_t>> begins_;
};

// The errors of every round, member and number of bins.
class Rounds {
 public:
  Rounds(const std::vector<Top1>& members, const std::vector<int>& bins, int rounds)
      : images_(members.empty() ? 0 : members[0].size()), bins_(bins.size()), rounds_(rounds) {
    TORCH_CHECK(images_ >= 1 && rounds >= 1, "resampling needs answers");
    for (const Top1& member : members) {
      TORCH_CHECK(member.size() == images_, "members with ", images_, " and ", member.size(), " answers");
      answers_.emplace_back(member, bins);
    }
    errors_.resize(rounds * answers_.size() * bins_);
  }

  // prepare(round, drawn [N]), then for each member compute(answers, drawn, scratch [N], its errors in that round).
  template <class Prepare, class Compute>
  void run(Prepare prepare, Compute compute) {
    at::parallel_for(0, rounds_, kCalibrationChunk, [&](std::int64_t begin, std::int64_t end) {
      std::vector<std::uint32_t> drawn(images_), scratch(images_);
      for (std::int64_t round = begin; round < end; ++round) {
        prepare(round, drawn);
        for (std::size_t m = 0; m < answers_.size(); ++m) compute(answers_[m], drawn, scratch, &at(round, m, 0));
      }
    });
  }

  std::size_t members() const { return answers_.size(); }

  // One number a round: of one member, or the mean over them.
  std::vector<double> of_member(std::size_t m, std::size_t bin, double BinErrors::*which) {
    std::vector<double> values(rounds_);
    for (int round = 0; round < rounds_; ++round) values[round] = at(round, m, bin).*which;
    return values;
  }
  std::vector<double> of_all(std::size_t bin, double BinErrors::*which) {
    std::vector<double> means(rounds_);
    for (std::size_t m = 0; m < answers_.size(); ++m) {
      const auto values = of_member(m, bin, which);
      for (int round = 0; round < rounds_; ++round)
        means[round] += values[round] / static_cast<double>(answers_.size());
    }
    return means;
  }

 private:
  BinErrors& at(std::int64_t round, std::size_t m, std::size_t bin) {
    return errors_[(round * answers_.size() + m) * bins_ + bin];
  }

  std::size_t images_, bins_;
  int rounds_;
  std::vector<RankedAnswers> answers_;
  std::vector<BinErrors> errors_;
};

void resample(Rounds& rounds, const ResamplingOptions& options, bool once_each) {
  const auto draw = [&](std::int64_t round, std::vector<std::uint32_t>& times) {
    if (once_each) {
      std::fill(times.begin(), times.end(), 1);
    } else {
      draw_images(round, options, times);
    }
  };
  rounds.run(draw, [](const RankedAnswers& answers, const auto& times, auto& scratch, BinErrors* errors) {
    answers.resampled(times, scratch, errors);
  });
}

// The quantiles moved so that the mean of the resampled values falls on the estimate.
Spread centred_spread(const std::vector<double>& values, double estimate) {
  Spread spread = spread_of(values);
  const double bias = summarise(values).mean - estimate;
  spread.low = std::max(spread.low - bias, 0.0);
  spread.high = std::max(spread.high - bias, 0.0);
  return spread;
}

double root_mean_variance(Rounds& rounds, std::size_t bin, double BinErrors::*which) {
  double sum = 0;
  for (std::size_t m = 0; m < rounds.members(); ++m) {
    const double std = summarise(rounds.of_member(m, bin, which)).std.value_or(0);
    sum += std * std;
  }
  return std::sqrt(sum / static_cast<double>(rounds.members()));
}

}  // namespace

std::map<int, CalibrationSpread> bootstrap_calibration(const std::vector<Top1>& members, const std::vector<int>& bins,
                                                       const ResamplingOptions& options) {
  Rounds rounds(members, bins, options.rounds), estimate(members, bins, 1);
  resample(rounds, options, false);
  resample(estimate, options, true);
  const auto spread = [&](std::size_t b, double BinErrors::*which) {
    return centred_spread(rounds.of_all(b, which), estimate.of_all(b, which).front());
  };
  std::map<int, CalibrationSpread> spreads;
  for (std::size_t b = 0; b < bins.size(); ++b) {
    spreads[bins[b]] = {.ece = spread(b, &BinErrors::ece),
                        .oe = spread(b, &BinErrors::oe),
                        .member_ece_std = root_mean_variance(rounds, b, &BinErrors::ece),
                        .member_oe_std = root_mean_variance(rounds, b, &BinErrors::oe)};
  }
  return spreads;
}

std::map<int, ResampledCalibration> resampled_calibration(const std::vector<Top1>& members,
                                                          const std::vector<int>& bins,
                                                          const ResamplingOptions& options) {
  Rounds rounds(members, bins, options.rounds);
  resample(rounds, options, false);
  std::map<int, ResampledCalibration> resampled;
  for (std::size_t b = 0; b < bins.size(); ++b)
    resampled[bins[b]] = {rounds.of_all(b, &BinErrors::ece), rounds.of_all(b, &BinErrors::oe)};
  return resampled;
}

std::map<int, CalibrationFloor> calibration_floor(const std::vector<Top1>& members, const std::vector<int>& bins,
                                                  const ResamplingOptions& options) {
  Rounds rounds(members, bins, options.rounds);
  rounds.run([&](std::int64_t round, auto& bits) { draw_bits(round, options, bits); },
             [](const RankedAnswers& answers, const auto& bits, auto& scratch, BinErrors* errors) {
               answers.simulated(bits, scratch, errors);
             });
  std::map<int, CalibrationFloor> floors;
  for (std::size_t b = 0; b < bins.size(); ++b) {
    CalibrationFloor& floor = floors[bins[b]];
    for (std::size_t m = 0; m < members.size(); ++m) {
      floor.members.push_back(summarise(rounds.of_member(m, b, &BinErrors::ece)).mean);
    }
    const Spread spread = spread_of(rounds.of_all(b, &BinErrors::ece));
    floor.low = spread.low;
    floor.high = spread.high;
  }
  return floors;
}

}  // namespace ekd

#include "ekd/metrics/statistics.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ekd/core/random.h"

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

constexpr std::int64_t kStatisticsChunk = 16;

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
  at::parallel_for(0, options.rounds, kStatisticsChunk, [&](std::int64_t begin, std::int64_t end) {
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

}  // namespace ekd

#include "ekd/metrics/resampling.h"

#include <algorithm>

#include "ekd/core/random.h"

namespace ekd {
namespace {

// What tells the draws of the two uses apart, where training has its epoch.
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

}  // namespace

void draw_images(std::int64_t round, const ResamplingOptions& options, std::vector<std::uint32_t>& times) {
  std::fill(times.begin(), times.end(), 0);
  for_each_draw(Use::kImages, round, options, times.size(),
                [&](std::size_t, std::uint32_t bits) { ++times[std::uint64_t{bits} * times.size() >> 32]; });
}

void draw_bits(std::int64_t round, const ResamplingOptions& options, std::vector<std::uint32_t>& bits) {
  for_each_draw(Use::kHits, round, options, bits.size(), [&](std::size_t i, std::uint32_t drawn) { bits[i] = drawn; });
}

}  // namespace ekd

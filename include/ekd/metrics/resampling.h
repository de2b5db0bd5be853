// The draws behind intervals over test images: which images a round takes, and what decides a simulated hit. Counted
// draws: a round's are the same whoever computes it, and whatever was computed before.
#pragma once

#include <cstdint>
#include <vector>

namespace ekd {

struct ResamplingOptions {
  int rounds = 1000;
  std::uint32_t seed = 0;
};

// times[i] = how often image i is drawn in `round`, N draws with replacement from N images. Scaling 32 random bits
// favours an image by less than N / 2^32.
void draw_images(std::int64_t round, const ResamplingOptions& options, std::vector<std::uint32_t>& times);

// bits[i] = 32 random bits of image i in `round`, none of which draw_images uses.
void draw_bits(std::int64_t round, const ResamplingOptions& options, std::vector<std::uint32_t>& bits);

}  // namespace ekd

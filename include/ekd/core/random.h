// Counted random numbers: every draw is a pure function of (seed, stream, epoch, row, column, attempt), never of what
// was drawn before. Philox4x32-10, Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cstdint>

namespace ekd {

// What a draw is for. Values are part of the reproducibility contract: append, never renumber.
enum class RandomStream : std::uint32_t {
  kOrder = 1,        // epoch permutation
  kBaseView = 2,     // crop, flip, rotation of an image
  kMixup = 3,        // factor and partners, per batch
  kCutmix = 4,       // factor, box and partner
  kCutmixView = 5,   // crop, flip, rotation of a CutMix partner
  kCutout = 6,       // mask centre
  kAugmix = 7,       // operations, strengths, weights
  kSynthetic = 8,    // the built-in data set
  kBootstrap = 9,    // resampled test images, simulated hits
  kProjection = 10,  // where the losses' projections start
  kContrast = 11,    // images that a contrastive loss holds a batch against
};

using PhiloxBlock = std::array<std::uint32_t, 4>;

constexpr PhiloxBlock philox4x32(PhiloxBlock counter, std::array<std::uint32_t, 2> key) {
  constexpr std::uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr std::uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = std::uint64_t{kMultiplier0} * counter[0];
    const std::uint64_t product1 = std::uint64_t{kMultiplier1} * counter[2];
    counter = {static_cast<std::uint32_t>(product1 >> 32) ^ counter[1] ^ key[0], static_cast<std::uint32_t>(product1),
               static_cast<std::uint32_t>(product0 >> 32) ^ counter[3] ^ key[1], static_cast<std::uint32_t>(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

// Draws of one (seed, stream). `row` is a data-set row, or a batch index for draws shared by a batch; `column` tells
// the draws of one row apart; `attempt` the tries of a rejection sampler.
class CountedRandom {
 public:
  constexpr CountedRandom(std::uint32_t seed, RandomStream stream) : key_{seed, static_cast<std::uint32_t>(stream)} {}

  constexpr PhiloxBlock block(std::uint32_t epoch, std::uint32_t row, std::uint32_t column,
                              std::uint32_t attempt = 0) const {
    return philox4x32({column, row, epoch, attempt}, key_);
  }

  constexpr std::uint64_t bits(std::uint32_t epoch, std::uint32_t row, std::uint32_t column,
                               std::uint32_t attempt = 0) const {
    const PhiloxBlock words = block(epoch, row, column, attempt);
    return std::uint64_t{words[0]} << 32 | words[1];
  }

  // Uniform in the open interval (0, 1), 52 bits: neither log(u) nor log(1 - u) can overflow.
  constexpr double uniform(std::uint32_t epoch, std::uint32_t row, std::uint32_t column,
                           std::uint32_t attempt = 0) const {
    return (static_cast<double>(bits(epoch, row, column, attempt) >> 12) + 0.5) * 0x1p-52;
  }

  // Uniform in {0, …, count - 1}; the bias is below count / 2^64.
  constexpr std::int64_t below(std::int64_t count, std::uint32_t epoch, std::uint32_t row, std::uint32_t column,
                               std::uint32_t attempt = 0) const {
    __extension__ using Wide = unsigned __int128;
    return static_cast<std::int64_t>(Wide{bits(epoch, row, column, attempt)} * static_cast<std::uint64_t>(count) >> 64);
  }

 private:
  std::array<std::uint32_t, 2> key_;
};

}  // namespace ekd

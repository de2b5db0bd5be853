// Philox4x32-10 against the known answers published with Salmon et al., 2011 (Random123), and what counts its draws.
#include <gtest/gtest.h>

#include <set>

#include "ekd/core/random.h"

namespace ekd {
namespace {

TEST(Philox, KnownAnswers) {
  EXPECT_EQ(philox4x32({0, 0, 0, 0}, {0, 0}), (PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  constexpr std::uint32_t kOnes = 0xffffffff;
  EXPECT_EQ(philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  // The digits of π.
  EXPECT_EQ(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
            (PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(CountedRandom, EveryWordOfTheCounterAndOfTheKeyMatters) {
  const CountedRandom random(1, RandomStream::kMixup);
  const std::set<std::uint64_t> bits{random.bits(0, 0, 0),
                                     random.bits(1, 0, 0),
                                     random.bits(0, 1, 0),
                                     random.bits(0, 0, 1),
                                     random.bits(0, 0, 0, 1),
                                     CountedRandom(2, RandomStream::kMixup).bits(0, 0, 0),
                                     CountedRandom(1, RandomStream::kCutmix).bits(0, 0, 0)};
  EXPECT_EQ(bits.size(), 7);
}

// 90,000 draws below 9: each value's count has mean 10,000 and standard deviation √(90,000 · 1/9 · 8/9) = 94.
TEST(CountedRandom, BelowIsUniform) {
  const CountedRandom random(3, RandomStream::kOrder);
  std::array<int, 9> counts{};
  for (std::uint32_t row = 0; row < 90'000; ++row) ++counts.at(static_cast<std::size_t>(random.below(9, 0, row, 0)));
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 5 * 94);
}

}  // namespace
}  // namespace ekd

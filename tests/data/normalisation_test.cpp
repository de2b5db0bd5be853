#include "ekd/data/record.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/std.h>
#include <gmock/gmock.h>

#include "data/pixel_statistics.h"

namespace ekd {
namespace {

// Against LibTorch in double; and the same bits with one thread and with two.
TEST(PixelStatistics, AreExact) {
  const at::Tensor images = at::randint(0, 256, {300, 3, 9, 7}, at::kByte);
  const PixelStatistics statistics = pixel_statistics(images);
  const at::Tensor pixels = images.to(at::kDouble) / 255;
  for (int c = 0; c < 3; ++c) {
    const at::Tensor channel = pixels.select(1, c);
    const auto place = static_cast<std::size_t>(c);
    EXPECT_NEAR(statistics.mean[place], channel.mean().item<double>(), 1e-14);
    EXPECT_NEAR(statistics.std[place], at::std(channel, /*unbiased=*/false).item<double>(), 1e-13);
  }
  const int threads = at::get_num_threads();
  at::set_num_threads(threads == 1 ? 2 : 1);
  EXPECT_EQ(pixel_statistics(images).mean, statistics.mean);
  EXPECT_EQ(pixel_statistics(images).std, statistics.std);
  at::set_num_threads(threads);
}

TEST(NormalisationJson, IsShortAndComesBackAsTheSameFloats) {
  EXPECT_EQ(normalisation_json(Normalisation{}, 3).dump(),
            R"({"mean":[0.5071,0.4867,0.4408],"std":[0.2675,0.2565,0.2761]})");
  EXPECT_EQ(normalisation_from(normalisation_json(Normalisation{}, 3)), Normalisation{});
  const Normalisation odd{{1.0F / 3, 0, 0}, {0.1F + 0.2F, 1, 1}};
  EXPECT_EQ(normalisation_from(normalisation_json(odd, 1)), odd);
}

TEST(NormalisationJson, WhatIsNoneIsNothing) {
  for (const char* text :
       {"null", "[]", "{}", R"({"mean": [0.5]})", R"({"mean": [0.5], "std": [1, 1]})", R"({"mean": [], "std": []})",
        R"({"mean": ["a"], "std": [1]})", R"({"mean": [0.5], "std": [0]})", R"({"mean": [2], "std": [1]})",
        R"({"mean": [0,0,0,0], "std": [1,1,1,1]})", R"({"mean": 0.5, "std": 1})"})
    EXPECT_EQ(normalisation_from(nlohmann::json::parse(text)), std::nullopt) << text;
}

}  // namespace
}  // namespace ekd

#include "ekd/data/synthetic.h"

#include <ATen/Parallel.h>
#include <ATen/ops/equal.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "data/cifar.h"
#include "data/synthetic_scene.h"
#include "ekd/core/sha256.h"
#include "ekd/data/load.h"

namespace ekd {
namespace {

std::string digest(const at::Tensor& tensor) {
  return sha256_hex({static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()});
}

TEST(Synthetic, SizesAndLabels) {
  for (const auto split : {SyntheticSplit::kTrain, SyntheticSplit::kTest}) {
    const auto labels = synthetic_labels(split);
    EXPECT_EQ(labels.size(), split == SyntheticSplit::kTrain ? 10'000U : 2'000U);
    EXPECT_EQ(labels[0], 0);
    EXPECT_EQ(labels[1234], 34);
  }
}

// The whole set, to the bit, on every machine. A change here is a change of the data set: it needs a good reason.
TEST(Synthetic, CommittedDigest) {
  DataConfig config;
  config.dataset = "synthetic";
  EXPECT_EQ(load_dataset(config).sha256, "4a82b48571dd754b9e42186fbc043284b9ff5facbe20b012a1cabb762c749e82");
}

TEST(Synthetic, EachRecordStandsAlone) {
  const std::vector<std::int64_t> all{0, 1, 2, 3, 4, 5, 6, 7, 4242}, some{4242, 3};
  const ImageSet together = synthetic_records(SyntheticSplit::kTrain, all);
  const ImageSet apart = synthetic_records(SyntheticSplit::kTrain, some);
  EXPECT_TRUE(at::equal(apart.images[0], together.images[8]));
  EXPECT_TRUE(at::equal(apart.images[1], together.images[3]));
  EXPECT_EQ(apart.labels[0].item<int>(), 42);
}

TEST(Synthetic, ThreadsChangeNothing) {
  std::vector<std::int64_t> rows(200);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int64_t>(7 * i);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const std::string one = digest(synthetic_records(SyntheticSplit::kTest, rows).images);
  at::set_num_threads(3);
  const std::string three = digest(synthetic_records(SyntheticSplit::kTest, rows).images);
  at::set_num_threads(threads);
  EXPECT_EQ(one, three);
}

// No picture occurs twice: 12,000 records, 12,000 digests.
TEST(Synthetic, NoPictureTwice) {
  DataConfig config;
  config.dataset = "synthetic";
  const Dataset data = load_dataset(config);
  std::set<std::string> seen;
  for (const ImageSet* set : {&data.train, &data.test}) {
    const auto* pixels = static_cast<const std::byte*>(set->images.const_data_ptr());
    for (std::int64_t i = 0; i < set->size(); ++i) {
      seen.insert(sha256_hex({pixels + i * kCifarImageBytes, static_cast<std::size_t>(kCifarImageBytes)}));
    }
  }
  EXPECT_EQ(seen.size(), 12'000U);
}

TEST(Synthetic, ClassesAreAllPairsOfShapeAndFamily) {
  std::set<std::pair<int, int>> pairs;
  for (int label = 0; label < kSyntheticClasses; ++label)
    pairs.emplace(synthetic_shape_of(label), synthetic_family_of(label));
  EXPECT_EQ(pairs.size(), 100U);
  const auto names = synthetic_class_names();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), 100U);
  EXPECT_EQ(names[0], "disc_plain");
  EXPECT_EQ(names[13], "triangle_checks");  // shape 13 mod 10, family 1 + 3
}

// One record in ten draws its family anew, and one in ten of those draws the right one: 91 % agree, ± 1.4 (three
// standard errors of 4,000 records). Where the object lies varies over the picture.
TEST(Synthetic, ScenesFollowTheirLabels) {
  const CountedRandom random(0, RandomStream::kSynthetic);
  int agree = 0, least_x = 512, most_x = 0;
  for (std::uint32_t row = 0; row < 4000; ++row) {
    const int label = static_cast<int>(row % kSyntheticClasses);
    const SyntheticScene scene = synthetic_scene(random, row, label);
    EXPECT_EQ(scene.object.shape, synthetic_shape_of(label));
    agree += scene.object.family == synthetic_family_of(label);
    least_x = std::min(least_x, scene.object.centre_x);
    most_x = std::max(most_x, scene.object.centre_x);
  }
  EXPECT_NEAR(agree / 4000.0, 0.91, 0.014);
  EXPECT_LT(least_x, 120);
  EXPECT_GT(most_x, 392);
}

// Drawing skips pixels further than 371/256 radii from the centre; a sample lies at most 4 * 256 * 1.42 / 40 = 37 units
// from its pixel's centre, so no shape may reach beyond 371 - 37.
TEST(Synthetic, ShapesStayWithinReach) {
  for (int shape = 0; shape < kSyntheticShapes; ++shape) {
    int area = 0;
    for (int v = -400; v <= 400; v += 4) {
      for (int u = -400; u <= 400; u += 4) {
        if (!inside_synthetic_shape(shape, u, v)) continue;
        ++area;
        EXPECT_LE(u * u + v * v, (371 - 37) * (371 - 37)) << kSyntheticShapeNames[static_cast<std::size_t>(shape)];
      }
    }
    EXPECT_GT(area * 16, 60'000);  // each shows: a disc of one radius has an area of 205,887
  }
}

}  // namespace
}  // namespace ekd

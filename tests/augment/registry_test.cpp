// What must hold for every augmentation.
#include "ekd/augment/augmentation.h"

#include <ATen/Parallel.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/flip.h>
#include <gtest/gtest.h>

#include <ostream>

#include "tests/augment/fixtures.h"

namespace ekd {
namespace {

struct Variant {
  std::string name, mode;
};
std::ostream& operator<<(std::ostream& out, const Variant& variant) {
  return out << variant.name << " " << variant.mode;
}

std::vector<Variant> variants() {
  std::vector<Variant> all;
  for (const auto& name : augmentation_registry().names()) all.push_back({name, "image"});
  all.push_back({"cutmix", "batch"});
  return all;
}

class EveryAugmentation : public testing::TestWithParam<Variant> {
 protected:
  AugmentationContext context_ = noise_context(GetParam().name);
  void SetUp() override { context_.config.cutmix_mode = GetParam().mode; }

  Batch batch(std::int64_t epoch, std::int64_t first = 0, std::int64_t count = 16, std::int64_t index = 0) const {
    const auto augmentation = make_augmentation(context_);
    augmentation->begin_epoch(epoch);
    return augmentation->batch(rows_up_to(context_.train.size()).narrow(0, first, count), index);
  }
  bool drawn_per_batch() const { return GetParam().name == "mixup" || GetParam().mode == "batch"; }
};

bool same(const Batch& a, const Batch& b) { return a.images.equal(b.images) && a.targets.equal(b.targets); }

TEST_P(EveryAugmentation, ShapesLayoutAndTargets) {
  for (const auto& [channels, height, width] : {std::array{3, 32, 32}, std::array{1, 24, 40}, std::array{3, 64, 64}}) {
    const auto fitting = noise_context(GetParam().name, 40, channels, height, width);
    context_.train = fitting.train;
    for (const auto& [first, count, index] : {std::array{0, 16, 0}, std::array{32, 8, 2}}) {
      const Batch made = batch(0, first, count, index);
      EXPECT_EQ(made.size(), count);
      EXPECT_EQ(made.images.sizes(), (std::vector<std::int64_t>{made.views * count, channels, height, width}));
      EXPECT_TRUE(made.images.is_contiguous(at::MemoryFormat::ChannelsLast));
      EXPECT_EQ(made.images.scalar_type(), at::kFloat);
      EXPECT_TRUE(made.images.isfinite().all().item<bool>());
      EXPECT_EQ(made.targets.sizes(), (std::vector<std::int64_t>{count, 10}));
      EXPECT_EQ(made.targets.scalar_type(), at::kFloat);
      EXPECT_TRUE(made.targets.sum(1).sub(1).abs().le(1e-6).all().item<bool>());
      EXPECT_TRUE(made.targets.ge(0).all().item<bool>());
      EXPECT_TRUE(made.labels.equal(context_.train.labels.narrow(0, first, count)));
    }
  }
}

TEST_P(EveryAugmentation, Bfloat16ImagesAreRoundedOnce) {
  const Batch floats = batch(1);
  context_.image_dtype = at::kBFloat16;
  const Batch rounded = batch(1);
  EXPECT_EQ(rounded.images.scalar_type(), at::kBFloat16);
  EXPECT_TRUE(rounded.images.equal(floats.images.to(at::kBFloat16)));
  EXPECT_TRUE(rounded.images.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(rounded.targets.equal(floats.targets));
}

TEST_P(EveryAugmentation, LeavesTheDataAlone) {
  const auto images = context_.train.images.clone(), labels = context_.train.labels.clone();
  batch(0);
  EXPECT_TRUE(context_.train.images.equal(images));
  EXPECT_TRUE(context_.train.labels.equal(labels));
}

TEST_P(EveryAugmentation, DependsOnSeedAndEpochOnly) {
  const Batch first = batch(3);
  EXPECT_TRUE(same(first, batch(3)));
  EXPECT_FALSE(first.images.equal(batch(4).images));
  const auto augmentation = make_augmentation(context_);  // other epochs and batches before it
  augmentation->begin_epoch(9);
  augmentation->begin_epoch(3);
  augmentation->batch(rows_up_to(40).narrow(0, 16, 16), 1);
  EXPECT_TRUE(same(first, augmentation->batch(rows_up_to(16), 0)));
  context_.seed = 12;
  EXPECT_FALSE(first.images.equal(batch(3).images));
}

TEST_P(EveryAugmentation, DoesNotDependOnThreads) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const Batch one = batch(1);
  at::set_num_threads(3);
  const Batch three = batch(1);
  at::set_num_threads(threads);
  EXPECT_TRUE(same(one, three));
}

// Where nothing is drawn per batch, an image does not depend on its place, its batch or the batch size.
TEST_P(EveryAugmentation, DoesNotDependOnTheBatch) {
  if (drawn_per_batch()) {
    EXPECT_FALSE(same(batch(2, 0, 16, 0), batch(2, 0, 16, 1)));
    return;
  }
  const Batch whole = batch(2);
  context_.batch_size = 8;
  const auto augmentation = make_augmentation(context_);
  augmentation->begin_epoch(2);
  const Batch reversed = augmentation->batch(at::flip(rows_up_to(8), {0}), 3);
  for (std::int64_t view = 0; view < whole.views; ++view)
    EXPECT_TRUE(at::flip(reversed.images.narrow(0, 8 * view, 8), {0}).equal(whole.images.narrow(0, 16 * view, 8)));
  EXPECT_TRUE(at::flip(reversed.targets, {0}).equal(whole.targets.narrow(0, 0, 8)));
}

TEST_P(EveryAugmentation, NeedsAnEpoch) {
  EXPECT_THROW(make_augmentation(context_)->batch(rows_up_to(16), 0), c10::Error);
  EXPECT_THROW(make_augmentation(context_)->begin_epoch(-1), c10::Error);
}

TEST_P(EveryAugmentation, RefusesImagesThatItCannotUse) {
  context_.train.images = noise_images(40, 4, 32, 32);
  EXPECT_THROW(make_augmentation(context_), UsageError);
  context_.train.images = noise_images(40, 3, 4, 32);
  context_.config.crop_padding = 32;  // 4 at this size: a crop may show nothing
  EXPECT_THROW(make_augmentation(context_), UsageError);
}

INSTANTIATE_TEST_SUITE_P(Registry, EveryAugmentation, testing::ValuesIn(variants()),
                         [](const auto& variant) { return variant.param.name + "_" + variant.param.mode; });

TEST(AugmentationRegistry, HoldsThePapersFive) {
  EXPECT_EQ(augmentation_registry().names(), (std::vector<std::string>{"none", "mixup", "cutmix", "cutout", "augmix"}));
  for (const auto& row : augmentation_registry().rows()) EXPECT_FALSE(row.help.empty());
}

TEST(AugmentationRegistry, SaysWhatIsWrong) {
  auto context = noise_context("cutmxi");
  try {
    make_augmentation(context);
    FAIL() << "an unknown name was taken";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("did you mean cutmix?"), std::string::npos) << error.what();
  }
  context.config.name = "cutout";
  context.config.cutout_size = 33;
  EXPECT_THROW(make_augmentation(context), UsageError);
  context.config.name = "cutmix";
  context.config.cutmix_mode = "both";
  EXPECT_THROW(make_augmentation(context), UsageError);
}

}  // namespace
}  // namespace ekd

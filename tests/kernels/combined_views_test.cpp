// Mixed, pasted and blanked views by hand and against plain tensor operations, bit for bit; and the GPU's threads, one
// after another on the CPU.
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <vector>

#include "ekd/kernels/views.h"
#include "kernels/views/image_checks.h"
#include "kernels/views/view_task.h"
#include "tests/kernels/noise_views.h"

namespace ekd {
namespace {

at::Tensor rows_of(const std::vector<std::int64_t>& rows) { return at::tensor(rows, at::kLong); }

at::Tensor boxes_of(const std::vector<std::int32_t>& corners) {
  return at::tensor(corners, at::kInt).view({-1, kBoxWords});
}

// The images as they are.
SeenImages as_stored(const at::Tensor& rows) {
  const auto view = at::tensor({65536, 0, 32768, 0, 65536, 32768, 0, 0, 0}, at::kInt).view({1, kViewWords});
  return {rows, view, at::zeros_like(rows)};
}

// White is 4, black 0.
const Normalisation kQuarters{{0, 0, 0}, {0.25F, 0.25F, 0.25F}};

at::Tensor flat_images(const std::vector<int>& bytes, std::int64_t height, std::int64_t width) {
  const auto count = static_cast<std::int64_t>(bytes.size());
  return at::tensor(bytes, at::kByte).view({count, 1, 1, 1}).expand({count, 3, height, width}).contiguous();
}

// Images of 4, 0 and 0; partners 2, 0, 1; factor .25: .25 · 4 + .75 · 0 = 1, .25 · 0 + .75 · 4 = 3, and 0.
TEST(CombinedViews, MixByHand) {
  const auto images = flat_images({255, 0, 0}, 4, 5);
  const auto mixed =
      mixed_view(images, as_stored(rows_of({0, 1, 2})), as_stored(rows_of({2, 0, 1})), at::full({1}, 0.25F), kQuarters);
  EXPECT_TRUE(mixed.equal(at::tensor({1.0F, 3.0F, 0.0F}).view({3, 1, 1, 1}).expand({3, 3, 4, 5})));
  EXPECT_TRUE(mixed.is_contiguous(at::MemoryFormat::ChannelsLast));
}

// The first: columns 1, 2 of rows 0 … 2; the second: nothing, an empty box.
TEST(CombinedViews, PasteByHand) {
  const auto images = flat_images({0, 255}, 4, 6);
  const auto pasted = pasted_view(images, as_stored(rows_of({0, 0})), as_stored(rows_of({1, 1})),
                                  {boxes_of({2, 2, 2, 4, 1, 0, 3, 3}), rows_of({1, 0})}, kQuarters);
  auto expected = at::zeros({2, 3, 4, 6}, at::kFloat);
  expected[0].narrow(1, 0, 3).narrow(2, 1, 2).fill_(4);
  EXPECT_TRUE(pasted.equal(expected));
  EXPECT_TRUE(pasted.is_contiguous(at::MemoryFormat::ChannelsLast));
}

// Zeros come after normalising: mean .5 and std .25 make white 2 and black -2, and 0 lies between them.
TEST(CombinedViews, BlankByHand) {
  const auto images = flat_images({255, 0}, 4, 5);
  const ImageBoxes boxes{boxes_of({1, 2, 4, 4, 0, 0, 5, 1}), rows_of({0, 1})};
  const auto blanked =
      blanked_view(images, as_stored(rows_of({0, 1})), boxes, {{0.5F, 0.5F, 0.5F}, {0.25F, 0.25F, 0.25F}});
  auto expected = at::tensor({2.0F, -2.0F}).view({2, 1, 1, 1}).expand({2, 3, 4, 5}).contiguous();
  expected[0].narrow(1, 2, 2).narrow(2, 1, 3).fill_(0);
  expected[1].narrow(1, 0, 1).fill_(0);
  EXPECT_TRUE(blanked.equal(expected));
  EXPECT_TRUE(blanked.is_contiguous(at::MemoryFormat::ChannelsLast));
}

struct Size {
  int channels, height, width;
};

// A batch of 13 from 20 images with views, partners and boxes at random.
struct NoiseBatch {
  explicit NoiseBatch(const Size& size)
      : images(noise_images(20, size.channels, size.height, size.width)),
        own{noise_rows(13, 20, 8), noise_views(20, size.height, size.width), noise_rows(13, 20, 9)},
        partners{noise_rows(13, 20, 10), own.views.flip({0}).contiguous(), noise_rows(13, 20, 11)},
        boxes{noise_boxes(20, size.height, size.width), noise_rows(13, 20, 12)} {}
  at::Tensor images;
  SeenImages own, partners;
  ImageBoxes boxes;
  at::Tensor factor = at::full({1}, 0.3F);
};

// bool [B, 1, H, W], true inside the box.
at::Tensor mask(const at::Tensor& boxes, std::int64_t height, std::int64_t width) {
  const auto side = [&](int word) { return boxes.select(1, word).view({-1, 1, 1, 1}); };
  const auto x = at::arange(width, at::kInt).view({1, 1, 1, -1}), y = at::arange(height, at::kInt).view({1, 1, -1, 1});
  return x.ge(side(0)).logical_and(x.lt(side(2))).logical_and(y.ge(side(1))).logical_and(y.lt(side(3)));
}

class CombinedViewsOfNoise : public testing::TestWithParam<Size> {
 protected:
  const NoiseBatch batch_{GetParam()};
  const Normalisation normalisation_;

  void expect_rounded_once(const at::Tensor& bf16, const at::Tensor& floats) const {
    EXPECT_EQ(bf16.scalar_type(), at::kBFloat16);
    EXPECT_TRUE(bf16.is_contiguous(at::MemoryFormat::ChannelsLast));
    EXPECT_TRUE(bf16.equal(floats.to(at::kBFloat16)));
  }
};

TEST_P(CombinedViewsOfNoise, EqualPlainTensorOperations) {
  const auto& [images, own, partners, boxes, factor] = batch_;
  const auto shown = base_view(images, own, normalisation_), other = base_view(images, partners, normalisation_);
  const auto inside = mask(boxes.boxes.index_select(0, boxes.rows), images.size(2), images.size(3));
  EXPECT_TRUE(
      mixed_view(images, own, partners, factor, normalisation_).equal((shown * factor).add_(other * (1 - factor))));
  EXPECT_TRUE(pasted_view(images, own, partners, boxes, normalisation_).equal(at::where(inside, other, shown)));
  EXPECT_TRUE(blanked_view(images, own, boxes, normalisation_).equal(at::where(inside, 0.0, shown)));
  const ImageBoxes first{boxes.boxes.narrow(0, 0, 1), {}};
  EXPECT_TRUE(pasted_view(images, own, partners, first, normalisation_)
                  .equal(at::where(mask(first.boxes, images.size(2), images.size(3)), other, shown)));
}

TEST_P(CombinedViewsOfNoise, Bfloat16IsFloat32RoundedOnce) {
  const auto& [images, own, partners, boxes, factor] = batch_;
  expect_rounded_once(normalised_images(images, normalisation_, at::kBFloat16),
                      normalised_images(images, normalisation_));
  expect_rounded_once(base_view(images, own, normalisation_, at::kBFloat16), base_view(images, own, normalisation_));
  expect_rounded_once(mixed_view(images, own, partners, factor, normalisation_, at::kBFloat16),
                      mixed_view(images, own, partners, factor, normalisation_));
  expect_rounded_once(pasted_view(images, own, partners, boxes, normalisation_, at::kBFloat16),
                      pasted_view(images, own, partners, boxes, normalisation_));
  expect_rounded_once(blanked_view(images, own, boxes, normalisation_, at::kBFloat16),
                      blanked_view(images, own, boxes, normalisation_));
}

SeenRows pointers(const SeenImages& seen) {
  return {seen.rows.const_data_ptr<std::int64_t>(),
          reinterpret_cast<const ViewParams*>(seen.views.const_data_ptr<std::int32_t>()),
          seen.view_rows.const_data_ptr<std::int64_t>(), seen.order};
}

// What the CUDA driver's threads write, some of them beyond the last pixel.
at::Tensor by_threads(const NoiseBatch& batch, Combination combination, at::ScalarType dtype) {
  const at::Tensor out = empty_batch(batch.own.rows.size(0), batch.images, dtype);
  ViewTask task{};
  task.images = batch.images.const_data_ptr<std::uint8_t>();
  task.own = pointers(batch.own);
  task.partner = pointers(batch.partners);
  task.combination = combination;
  task.factor = batch.factor.const_data_ptr<float>();
  task.boxes = reinterpret_cast<const Box*>(batch.boxes.boxes.const_data_ptr<std::int32_t>());
  task.box_rows = batch.boxes.rows.const_data_ptr<std::int64_t>();
  task.out = out.mutable_data_ptr();
  task.bf16 = dtype == at::kBFloat16;
  task.batch = out.size(0);
  task.shape = planar_shape(batch.images);
  task.scale = channel_scale(Normalisation{});
  with_view_kind(task, [&](auto kind) {
    using Kind = decltype(kind);
    for (std::int64_t index = 0; index < task.batch * task.shape.pixels() + 100; ++index)
      view_thread<Kind::kCombination, typename Kind::Out>(task, index);
    return 0;
  });
  return out;
}

TEST_P(CombinedViewsOfNoise, ThreadsOfAGpuWriteTheSame) {
  const auto& [images, own, partners, boxes, factor] = batch_;
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    EXPECT_TRUE(by_threads(batch_, Combination::kOwn, dtype).equal(base_view(images, own, normalisation_, dtype)));
    EXPECT_TRUE(by_threads(batch_, Combination::kMix, dtype)
                    .equal(mixed_view(images, own, partners, factor, normalisation_, dtype)));
    EXPECT_TRUE(by_threads(batch_, Combination::kPaste, dtype)
                    .equal(pasted_view(images, own, partners, boxes, normalisation_, dtype)));
    EXPECT_TRUE(
        by_threads(batch_, Combination::kBlank, dtype).equal(blanked_view(images, own, boxes, normalisation_, dtype)));
  }
}

INSTANTIATE_TEST_SUITE_P(Sizes, CombinedViewsOfNoise,
                         testing::Values(Size{3, 32, 32}, Size{1, 24, 40}, Size{2, 7, 5}, Size{3, 64, 64}));

TEST(CombinedViews, RefuseWhatDoesNotFit) {
  const NoiseBatch batch({3, 8, 8});
  const auto& [images, own, partners, boxes, factor] = batch;
  const Normalisation normalisation;
  const SeenImages fewer{partners.rows.narrow(0, 0, 5), partners.views, partners.view_rows.narrow(0, 0, 5)};
  EXPECT_THROW(mixed_view(images, own, fewer, factor, normalisation), c10::Error);
  EXPECT_THROW(mixed_view(images, own, partners, at::full({2}, 0.5F), normalisation), c10::Error);
  EXPECT_THROW(mixed_view(images, own, partners, factor, normalisation, at::kHalf), c10::Error);
  EXPECT_THROW(pasted_view(images, own, fewer, boxes, normalisation), c10::Error);
  EXPECT_THROW(blanked_view(images, own, {boxes.boxes, boxes.rows + 20}, normalisation), c10::Error);
  EXPECT_THROW(blanked_view(images, own, {boxes.boxes, fewer.rows}, normalisation), c10::Error);
  EXPECT_THROW(blanked_view(images, own, {boxes.boxes.to(at::kLong), boxes.rows}, normalisation), c10::Error);
  EXPECT_THROW(blanked_view(images, own, {boxes.boxes.narrow(0, 0, 0), {}}, normalisation), c10::Error);
}

}  // namespace
}  // namespace ekd

// Images made in bfloat16 change no bit of what a network makes of them in bf16: its first convolution would round them
// anyway.
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "ekd/augment/base_view.h"
#include "ekd/evaluate/predictions.h"
#include "tests/train/training_fixture.h"

namespace ekd::test {
namespace {

BatchStream stream_in(Precision precision) {
  AugmentConfig augment;
  augment.name = "cutmix";
  return {{tiny_data().train, tiny_data().classes, tiny_data().normalisation, augment, /*seed=*/3, /*batch_size=*/2},
          {},
          precision};
}

at::Tensor logits_in_bf16(Classifier& model, const at::Tensor& images) {
  const AutocastGuard autocast(at::kCPU, Precision::kBf16);
  return model.forward(images).logits;
}

class ImageDtype : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override { at::set_num_threads(1); }
  std::unique_ptr<Classifier> model() const { return make_model({.name = GetParam(), .classes = 4}, /*seed=*/3); }
};

TEST_P(ImageDtype, LogitsAndGradientsStay) {
  BatchStream floats = stream_in(Precision::kFp32), rounded = stream_in(Precision::kBf16);
  floats.begin_epoch(1);
  rounded.begin_epoch(1);
  const at::Tensor images = floats.batch(0).images, rounded_images = rounded.batch(0).images;
  ASSERT_EQ(images.scalar_type(), at::kFloat);
  ASSERT_EQ(rounded_images.scalar_type(), at::kBFloat16);
  const auto a = model(), b = model();
  for (const bool training : {true, false}) {
    a->set_training(training);
    b->set_training(training);
    const at::Tensor expected = logits_in_bf16(*a, images), got = logits_in_bf16(*b, rounded_images);
    EXPECT_TRUE(got.equal(expected));
    expected.to(at::kFloat).square().sum().backward();
    got.to(at::kFloat).square().sum().backward();
  }
  expect_same_bits(*a, *b);  // running statistics
  const auto left = a->parameters(), right = b->parameters();
  for (std::size_t i = 0; i < left.size(); ++i)
    EXPECT_TRUE(left[i].tensor.grad().equal(right[i].tensor.grad())) << left[i].name;
}

TEST_P(ImageDtype, PredictionsStay) {
  const auto network = model();
  const Dataset& data = tiny_data();
  const Predictions got = predict(*network, data.test, {data.normalisation, 8, Precision::kBf16});
  const at::NoGradGuard no_grad;
  const at::Tensor expected = logits_in_bf16(*network, clean_view(data.test.images, data.normalisation));
  EXPECT_TRUE(got.logits.equal(expected.to(at::kFloat)));
}

INSTANTIATE_TEST_SUITE_P(Networks, ImageDtype, testing::Values("wrn_40_2", "shufflenet_v1"));

}  // namespace
}  // namespace ekd::test

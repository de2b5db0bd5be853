#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <gtest/gtest.h>

#include "ekd/augment/base_view.h"
#include "ekd/core/device.h"
#include "ekd/evaluate/predictions.h"
#include "tests/support/log_text.h"
#include "tests/train/training_fixture.h"

namespace ekd::test {
namespace {

// Two batches of three images and one of two, more often than a graph needs to be recorded, while the weights change.
void expect_answers_of_the_weights_at_hand(at::Device device) {
  const Dataset& data = tiny_data();
  const auto model = make_model({.name = "shufflenet_v1", .classes = 4}, /*seed=*/3);
  model->to(device);
  const ImageSet set = on_device(data.test, device);
  Predictor predictor(*model, {data.normalisation, 3});
  const at::NoGradGuard no_grad;
  at::Tensor before;
  for (int epoch = 0; epoch < 6; ++epoch) {
    model->set_training(true);
    const Predictions said = predictor.predict(set);
    std::vector<at::Tensor> expected;
    for (const std::int64_t begin : {0, 3, 6})
      expected.push_back(
          model->forward(clean_view(set.images.narrow(0, begin, begin < 6 ? 3 : 2), data.normalisation)).logits);
    EXPECT_TRUE(said.logits.equal(at::cat(expected).to(at::kCPU))) << epoch;
    EXPECT_TRUE(said.labels.equal(data.test.labels));
    EXPECT_FALSE(before.defined() && said.logits.equal(before)) << epoch;
    before = said.logits;
    for (const auto& [name, tensor] : model->parameters()) at::Tensor(tensor).mul_(1.01);
  }
}

TEST(Predictor, AnswersWithTheWeightsAtHand) { expect_answers_of_the_weights_at_hand(at::kCPU); }

TEST(Predictor, AnswersWithTheWeightsAtHandOnCuda) {
  if (const std::string reason = cuda_unavailable_reason(); !reason.empty()) GTEST_SKIP() << reason;
  set_deterministic(true);  // one algorithm for the recorded and the plain batches
  const LogText log(spdlog::level::debug);
  expect_answers_of_the_weights_at_hand({at::kCUDA, 0});
  EXPECT_NE(log.str().find("evaluation: recorded as a CUDA graph for 3 images"), std::string::npos);
  EXPECT_NE(log.str().find("evaluation: recorded as a CUDA graph for 2 images"), std::string::npos);
  at::globalContext().setDeterministicAlgorithms(false, false);
  at::globalContext().setDeterministicCuDNN(false);
}

}  // namespace
}  // namespace ekd::test

#include "ekd/train/weight_average.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/randn_like.h>
#include <gtest/gtest.h>

#include "ekd/models/registry.h"
#include "tests/support/operator_trace.h"

namespace ekd {
namespace {

// Another network each time: all of its tensors are drawn anew, and its counters advance.
void change(const Classifier& model) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : model_state(model)) {
    const at::Tensor live = tensor;
    if (live.is_floating_point()) {
      live.copy_(at::randn_like(live));
    } else {
      live.add_(1);
    }
  }
}

TEST(WeightAverage, FollowsItsDefinitionOverThreeSteps) {
  const auto model = make_model({.name = "shufflenet_v1", .classes = 4}, 1);
  WeightAverage average(*model, 0.2);
  std::vector<at::Tensor> expected;
  for (const auto& [name, tensor] : model_state(*model)) expected.push_back(tensor.detach().to(at::kDouble));
  for (const double decay : {1.0 / 10, 2.0 / 11, 0.2}) {  // the third would be 3/12
    change(*model);
    average.update();
    const auto live = model_state(*model);
    for (std::size_t i = 0; i < live.size(); ++i)
      expected[i] = decay * expected[i] + (1 - decay) * live[i].tensor.detach().to(at::kDouble);
  }
  const auto live = model_state(*model), held = model_state(average.model());
  ASSERT_EQ(held.size(), live.size());
  for (std::size_t i = 0; i < held.size(); ++i) {
    const at::Tensor& tensor = held[i].tensor;
    EXPECT_EQ(held[i].name, live[i].name);
    if (tensor.is_floating_point()) {
      EXPECT_TRUE(at::allclose(tensor.to(at::kDouble), expected[i], 1e-5, 1e-6)) << held[i].name;
      EXPECT_FALSE(at::equal(tensor, live[i].tensor)) << held[i].name;
    } else {
      EXPECT_TRUE(at::equal(tensor, live[i].tensor)) << held[i].name;
    }
  }
  EXPECT_EQ(average.state().back().tensor.item<std::int64_t>(), 3);
}

TEST(WeightAverage, AsksTheSameOfTheDeviceInEveryStep) {
  const auto model = make_model({.name = "shufflenet_v1", .classes = 4}, 1);
  WeightAverage average(*model, 0.2);
  const auto update = [&] { return test::operators_of([&] { average.update(); }); };
  const auto first = update();
  for (int step = 0; step < 20; ++step) average.update();  // past the start, where the decay changes
  EXPECT_GT(first.size(), 5U);
  EXPECT_EQ(first, update());
}

}  // namespace
}  // namespace ekd

// The networks against PyTorch: state dict, logits, gradients and SGD steps.
#include "tests/models/golden.h"

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_sgd.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>
#include <gtest/gtest.h>

#include <cmath>
#include <ostream>

#include "ekd/models/registry.h"

namespace ekd {
namespace {

struct Expectation {
  std::string model;
  std::size_t tensors;
  double gradient_tolerance;  // relative

  friend void PrintTo(const Expectation& expectation, std::ostream* out) { *out << expectation.model; }
};

class GoldenNetwork : public testing::TestWithParam<Expectation> {
 protected:
  static std::string name() { return GetParam().model; }

  // Started from another seed's numbers, then loaded.
  static std::unique_ptr<Classifier> load() {
    auto model = make_model({.name = name()}, /*seed=*/3);
    model->to(at::kCPU);
    copy_into(model_state(*model), golden_tensors(name()));
    return model;
  }
};

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  EXPECT_EQ(a.sizes(), b.sizes());
  return (a - b).abs().max().item<double>();
}

TEST_P(GoldenNetwork, StateDictHasTheFieldsNamesAndShapes) {
  const auto model = make_model({.name = name()}, /*seed=*/0);
  const TensorFile file = golden_tensors(name());
  const auto state = model_state(*model);
  EXPECT_EQ(state.size(), GetParam().tensors);
  EXPECT_EQ(file.tensors.size(), GetParam().tensors);
  for (const auto& [tensor_name, tensor] : state) {
    const at::Tensor* expected = file.find(tensor_name);
    ASSERT_NE(expected, nullptr) << tensor_name;
    EXPECT_EQ(tensor.sizes(), expected->sizes()) << tensor_name;
    EXPECT_EQ(tensor.scalar_type(), expected->scalar_type() == at::kLong ? at::kLong : at::kFloat) << tensor_name;
  }
  EXPECT_EQ(state.front().name, "conv1.weight");
  EXPECT_EQ(parameter_count(*model), golden_numbers(name() + "_forward").at("parameters"));
}

TEST_P(GoldenNetwork, EvaluationLogitsMatchAndNothingMoves) {
  const auto model = load();
  const TensorFile expected = golden_tensors(name() + "_forward");
  model->set_training(false);
  const at::NoGradGuard no_grad;
  const at::Tensor logits = model->forward(expected.at("input")).logits;
  EXPECT_LT(largest_difference(logits, expected.at("logits_eval")), 1e-4);
  const TensorFile weights = golden_tensors(name());
  for (const auto& [buffer_name, buffer] : model->buffers()) {
    EXPECT_TRUE(buffer.equal(weights.at(buffer_name).to(buffer.scalar_type()))) << buffer_name;
  }
}

TEST_P(GoldenNetwork, TrainingLogitsLossAndGradientsMatch) {
  const auto model = load();
  const TensorFile expected = golden_tensors(name() + "_forward");
  const auto counter = model->buffers().back();
  ASSERT_TRUE(counter.name.ends_with(".num_batches_tracked")) << counter.name;
  const auto batches = counter.tensor.item<std::int64_t>();
  const at::Tensor logits = model->forward(expected.at("input")).logits;
  EXPECT_EQ(counter.tensor.item<std::int64_t>(), batches + 1);
  EXPECT_LT(largest_difference(logits, expected.at("logits_train")), 1e-4);
  const at::Tensor loss = at::cross_entropy_loss(logits, expected.at("labels"));
  EXPECT_NEAR(loss.item<double>(), golden_numbers(name() + "_forward").at("loss_train").get<double>(), 1e-4);
  loss.backward();
  for (const auto& [parameter_name, parameter] : model->parameters()) {
    const auto norm = expected.at("grad_norm." + parameter_name).item<double>();
    EXPECT_NEAR(parameter.grad().norm().item<double>(), norm, GetParam().gradient_tolerance * norm) << parameter_name;
  }
}

TEST_P(GoldenNetwork, ThreeSgdStepsMatch) {
  const auto model = load();
  const TensorFile data = golden_tensors(name() + "_sgd");
  const nlohmann::json expected = golden_numbers(name() + "_sgd");
  const Normalisation norm;
  const auto channel = [](const std::array<float, 3>& values) { return at::tensor(values).view({1, 3, 1, 1}); };
  const at::Tensor images = (data.at("images").to(at::kFloat) / 255 - channel(norm.mean)) / channel(norm.std);

  std::vector<at::Tensor> parameters, momenta;
  for (const auto& [parameter_name, parameter] : model->parameters()) {
    parameters.push_back(parameter);
    momenta.push_back(at::zeros_like(parameter));
  }
  for (std::int64_t step = 0; step < 3; ++step) {
    const at::Tensor logits = model->forward(images.narrow(0, 32 * step, 32)).logits;
    const at::Tensor loss = at::cross_entropy_loss(logits, data.at("labels").narrow(0, 32 * step, 32));
    EXPECT_NEAR(loss.item<double>(), expected.at("losses").at(step).get<double>(), 5e-3);
    std::vector<at::Tensor> gradients;
    for (auto& parameter : parameters) parameter.mutable_grad().reset();
    loss.backward();
    for (const auto& parameter : parameters) gradients.push_back(parameter.grad());
    const at::NoGradGuard no_grad;
    at::_fused_sgd_(parameters, gradients, momenta, /*weight_decay=*/5e-4, /*momentum=*/0.9,
                    /*lr=*/expected.at("lr").at(step).get<double>(), /*dampening=*/0, /*nesterov=*/false,
                    /*maximize=*/false, /*is_first_step=*/false);
  }
  double squares = 0;
  for (const auto& parameter : parameters) squares += parameter.detach().to(at::kDouble).square().sum().item<double>();
  const auto norm_expected = expected.at("weight_norm").get<double>();
  EXPECT_NEAR(std::sqrt(squares), norm_expected, 1e-5 * norm_expected);
}

INSTANTIATE_TEST_SUITE_P(Both, GoldenNetwork,
                         testing::Values(Expectation{"wrn_40_2", 227, 1e-3}, Expectation{"shufflenet_v1", 296, 1e-2}),
                         [](const auto& test) { return test.param.model; });

}  // namespace
}  // namespace ekd

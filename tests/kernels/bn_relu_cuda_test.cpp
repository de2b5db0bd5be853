// Batch normalisation with ReLU on CUDA gives the CPU's numbers, and twice the same bits.
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "ekd/core/device.h"
#include "ekd/kernels/bn_relu.h"
#include "tests/kernels/bn_relu_inputs.h"

namespace ekd {
namespace {

at::Tensor on_cuda(const at::Tensor& values) { return values.defined() ? values.cuda() : values; }
BnParameters on_cuda(const BnParameters& p) { return {p.weight.cuda(), p.bias.cuda(), p.eps}; }
BnRunning on_cuda(const BnRunning& r) { return {r.mean.cuda(), r.var.cuda(), r.momentum}; }

class BnReluCuda : public testing::TestWithParam<std::tuple<BnReluCase, at::ScalarType, bool>> {
 protected:
  void SetUp() override {
    if (const std::string reason = cuda_unavailable_reason(); !reason.empty()) GTEST_SKIP() << reason;
  }
  const at::ScalarType type_ = std::get<1>(GetParam());
  const BnReluInputs in_{std::get<0>(GetParam()), type_, std::get<2>(GetParam())};
  const double tolerance_ = allowed_difference(type_);
};

TEST_P(BnReluCuda, ForwardEqualsTheCpu) {
  const BnRunning running = on_cuda(in_.running);
  const at::Tensor x = on_cuda(in_.x), residual = on_cuda(in_.residual);
  ASSERT_TRUE(bn_relu_takes(x));
  const auto actual = bn_relu_forward(x, residual, on_cuda(in_.parameters), running);
  const auto expected = bn_relu_forward(in_.x, in_.residual, in_.parameters, in_.running);
  EXPECT_TRUE(actual.y.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_LT(largest_difference(actual.y, expected.y), tolerance_);
  const BnSaved exact = exact_statistics(in_.x, in_.parameters.eps);
  EXPECT_LT(largest_difference(actual.saved.mean, exact.mean), kStatisticsOfCuda);
  EXPECT_LT(largest_difference(actual.saved.invstd, exact.invstd), kStatisticsOfCuda);
  EXPECT_LT(largest_difference(running.mean, in_.running.mean), kStatisticsOfCpu);
  EXPECT_LT(largest_difference(running.var, in_.running.var), kStatisticsOfCpu);
}

TEST_P(BnReluCuda, InferenceEqualsTheCpu) {
  const at::Tensor actual =
      bn_relu_inference(on_cuda(in_.x), on_cuda(in_.residual), on_cuda(in_.parameters), on_cuda(in_.running));
  EXPECT_LT(largest_difference(actual, bn_relu_inference(in_.x, in_.residual, in_.parameters, in_.running)),
            tolerance_);
}

TEST_P(BnReluCuda, GradientsEqualTheCpu) {
  const auto forward = bn_relu_forward(in_.x, in_.residual, in_.parameters, in_.running);
  const at::Tensor y = in_.residual.defined() ? forward.y : at::Tensor();
  const auto actual = bn_relu_backward(on_cuda(in_.grad), on_cuda(in_.x), on_cuda(y), on_cuda(in_.parameters),
                                       {forward.saved.mean.cuda(), forward.saved.invstd.cuda()});
  const auto expected = bn_relu_backward(in_.grad, in_.x, y, in_.parameters, forward.saved);
  EXPECT_LT(largest_difference(actual.x, expected.x), tolerance_);
  EXPECT_LT(largest_difference(actual.weight, expected.weight), 1e-5);
  EXPECT_LT(largest_difference(actual.bias, expected.bias), 1e-5);
  ASSERT_EQ(actual.residual.defined(), y.defined());
  if (y.defined()) {
    EXPECT_TRUE(actual.residual.cpu().equal(expected.residual));
  }
}

TEST_P(BnReluCuda, TwoRunsGiveTheSameBits) {
  const at::Tensor x = on_cuda(in_.x), residual = on_cuda(in_.residual), grad = on_cuda(in_.grad);
  const BnParameters parameters = on_cuda(in_.parameters);
  const auto run = [&] {
    const auto forward = bn_relu_forward(x, residual, parameters, on_cuda(in_.running));
    const auto gradients =
        bn_relu_backward(grad, x, residual.defined() ? forward.y : at::Tensor(), parameters, forward.saved);
    return std::array{forward.y, gradients.x, gradients.weight, gradients.bias};
  };
  const auto one = run(), two = run();
  for (std::size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(one[i].equal(two[i])) << i;
}

TEST_P(BnReluCuda, TakesTensorsThatAreNotAligned) {
  const auto shifted = [](const at::Tensor& values) {
    if (!values.defined()) return values;
    const at::Tensor moved = at::empty({values.numel() + 1}, values.options().device(at::kCUDA))
                                 .narrow(0, 1, values.numel())
                                 .view({values.size(0), values.size(2), values.size(3), values.size(1)})
                                 .permute({0, 3, 1, 2});
    return moved.copy_(values);
  };
  const at::Tensor x = shifted(in_.x);
  ASSERT_TRUE(bn_relu_takes(x));
  const auto actual = bn_relu_forward(x, shifted(in_.residual), on_cuda(in_.parameters), on_cuda(in_.running));
  const auto expected = bn_relu_forward(in_.x, in_.residual, in_.parameters, in_.running);
  EXPECT_LT(largest_difference(actual.y, expected.y), tolerance_);
}

INSTANTIATE_TEST_SUITE_P(Shapes, BnReluCuda,
                         testing::Combine(testing::ValuesIn(kBnReluCases), testing::Values(at::kFloat, at::kBFloat16),
                                          testing::Bool()));

}  // namespace
}  // namespace ekd

// Random inputs of batch normalisation with ReLU, and how far results may lie apart.
#pragma once

#include <ATen/Functions.h>
#include <ATen/TensorOperators.h>

#include <array>
#include <ostream>
#include <tuple>

#include "ekd/kernels/bn_relu.h"

namespace ekd {

struct BnReluCase {
  std::int64_t images, channels, side;
};
inline void PrintTo(const BnReluCase& c, std::ostream* os) {
  *os << c.images << "x" << c.channels << "x" << c.side << "x" << c.side;
}

// Channels of both networks; some that divide no vector; rows wider than a block; fewer rows than one block takes, and
// more than all blocks take at once.
inline const BnReluCase kBnReluCases[] = {{2, 16, 8},  {3, 54, 7},  {1, 1, 5},    {5, 60, 9},  {2, 240, 20},
                                          {7, 100, 1}, {1, 999, 3}, {2, 1030, 2}, {9, 960, 4}, {70, 16, 33}};

struct BnReluInputs {
  BnReluInputs(const BnReluCase& size, at::ScalarType type, bool has_residual) {
    at::manual_seed(5);
    const std::array<std::int64_t, 4> shape{size.images, size.channels, size.side, size.side};
    const auto noise = [&] { return at::randn(shape).to(type).contiguous(at::MemoryFormat::ChannelsLast); };
    x = noise() * 2 + 3;
    if (has_residual) residual = noise();
    grad = noise();
    parameters = {at::rand(size.channels) + 0.5, at::randn(size.channels), 1e-5};
    running = {at::randn(size.channels), at::rand(size.channels) + 0.5, 0.1};
  }

  at::Tensor x, residual, grad;
  BnParameters parameters;
  BnRunning running;
};

// Largest difference, relative to the largest magnitude expected.
inline double largest_difference(const at::Tensor& actual, const at::Tensor& expected) {
  const at::Tensor wanted = expected.to(at::kDouble);
  return ((actual.cpu().to(at::kDouble) - wanted).abs().max() / wanted.abs().max()).item<double>();
}

// The batch's statistics in float64.
inline BnSaved exact_statistics(const at::Tensor& x, double eps) {
  const at::Tensor values = x.to(at::kDouble);
  return {values.mean({0, 2, 3}), values.var(at::IntArrayRef{0, 2, 3}, /*unbiased=*/false).add(eps).rsqrt()};
}
// The CPU adds up hundreds of numbers in a row in float32, the CUDA kernels a few.
constexpr double kStatisticsOfCpu = 2e-5, kStatisticsOfCuda = 1e-6;

// Sums in another order differ in the last digits, and those may turn the last one that bfloat16 keeps.
inline double allowed_difference(at::ScalarType type) { return type == at::kFloat ? 3e-6 : 8e-3; }

}  // namespace ekd

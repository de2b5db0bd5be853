// The loops of the kernels as any processor runs them, against sums as they are written in books. Links nothing of
// LibTorch, so that scripts/check_arm.sh can run it for a processor of another kind.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "kernels/bn_relu/bn_relu_loops.h"
#include "kernels/conv/depthwise_loops.h"
#include "kernels/conv/pointwise_loops.h"
#include "kernels/conv/winograd_loops.h"

namespace ekd {
namespace {

using Floats = std::vector<float>;

std::mt19937 random_bits(1);
Floats randoms(std::int64_t count) {
  std::normal_distribution<float> normal;
  Floats values(count);
  for (auto& value : values) value = normal(random_bits);
  return values;
}

int failures = 0;
void expect_close(const char* what, const Floats& actual, const Floats& expected, float tolerance) {
  float apart = 0, largest = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    apart = std::max(apart, std::fabs(actual[i] - expected[i]));
    largest = std::max(largest, std::fabs(expected[i]));
  }
  const bool good = apart <= tolerance * largest;  // not where one is no number
  std::printf("%-32s %s, %.2g of the largest apart\n", what, good ? "right" : "WRONG", apart / largest);
  if (!good) ++failures;
}

void check_bn_relu() {
  constexpr std::int64_t kChannels = 64, kCount = 10 * kChannels + 32;
  const Floats x = randoms(kCount), residual = randoms(kCount), scale = randoms(kChannels), shift = randoms(kChannels);
  Floats y(kCount), expected(kCount);
  for (std::int64_t i = 0; i < kCount; ++i)
    expected[i] = std::max(x[i] * scale[i % kChannels] + shift[i % kChannels] + residual[i], 0.0f);
  kBnReluPlain.fp32.forward(x.data(), residual.data(), {kCount, kChannels}, {scale.data(), shift.data()}, y.data(),
                            /*streams=*/false);
  expect_close("batch norm, fp32", y, expected, 1e-6f);

  std::vector<c10::BFloat16> rounded(x.begin(), x.end()), added(residual.begin(), residual.end()), out(kCount);
  kBnReluPlain.bf16.forward(rounded.data(), added.data(), {kCount, kChannels}, {scale.data(), shift.data()}, out.data(),
                            /*streams=*/false);
  expect_close("batch norm, bf16", {out.begin(), out.end()}, expected, 2e-2f);

  Floats sum(kChannels), square(kChannels), sums(kChannels), squares(kChannels);
  kBnReluPlain.fp32.moments(x.data(), {kCount, kChannels}, shift.data(), sum.data(), square.data());
  for (std::int64_t i = 0; i < kCount; ++i) {
    const float moved = x[i] - shift[i % kChannels];
    sums[i % kChannels] += moved;
    squares[i % kChannels] += moved * moved;
  }
  expect_close("batch norm, sums", sum, sums, 1e-5f);
  expect_close("batch norm, squares", square, squares, 1e-5f);
}

void check_depthwise(std::int64_t stride) {
  constexpr std::int64_t kSide = 8, kChannels = 40;
  const std::int64_t side = kSide / stride;
  const DepthwiseShape shape{side, side, kChannels, stride};
  const Floats x = randoms(kSide * kSide * kChannels), taps = randoms(kDepthwiseTaps * kChannels),
               grad = randoms(side * side * kChannels);
  Floats padded(shape.padded_size()), y(grad.size()), expected(grad.size()), by_taps(taps.size()),
      expected_by_taps(taps.size());
  for (std::int64_t i = 0; i < side; ++i)
    for (std::int64_t j = 0; j < side; ++j)
      for (std::int64_t tap = 0; tap < kDepthwiseTaps; ++tap)
        for (std::int64_t c = 0; c < kChannels; ++c) {
          const std::int64_t h = stride * i + tap / 3 - 1, w = stride * j + tap % 3 - 1;
          if (h < 0 || h >= kSide || w < 0 || w >= kSide) continue;
          const float value = x[(h * kSide + w) * kChannels + c];
          expected[(i * side + j) * kChannels + c] += value * taps[tap * kChannels + c];
          expected_by_taps[tap * kChannels + c] += value * grad[(i * side + j) * kChannels + c];
        }
  kDepthwisePlain.fp32.pad(x.data(), kSide, kSide, kChannels, /*step=*/1, padded.data());
  kDepthwisePlain.fp32.correlate(padded.data(), shape, taps.data(), y.data());
  kDepthwisePlain.fp32.tap_gradient(padded.data(), grad.data(), /*images=*/1, shape, by_taps.data());
  expect_close(stride == 1 ? "depthwise" : "depthwise, stride 2", y, expected, 1e-5f);
  expect_close("depthwise, gradient by the taps", by_taps, expected_by_taps, 1e-5f);
}

void check_pointwise() {
  constexpr std::int64_t kRows = 37, kInner = 24, kColumns = 54;
  const Floats a = randoms(kRows * kInner), b = randoms(kInner * kColumns);
  Floats panels(kPointwisePlain.packed_size(kInner, kColumns)), c(kRows * kColumns), expected(c.size());
  for (std::int64_t r = 0; r < kRows; ++r)
    for (std::int64_t k = 0; k < kInner; ++k)
      for (std::int64_t j = 0; j < kColumns; ++j) expected[r * kColumns + j] += a[r * kInner + k] * b[k * kColumns + j];
  kPointwisePlain.pack_panels(b.data(), kInner, kColumns, kColumns, 1, panels.data());
  kPointwisePlain.multiply({a.data(), kInner}, kRows, {kInner, kColumns, panels.data()}, {c.data(), kColumns},
                           /*streams=*/false);
  expect_close("1x1 convolution", c, expected, 1e-5f);
}

void check_shuffle() {
  constexpr std::int64_t kRows = 5, kGroups = 3, kWidth = 20;
  std::vector<std::uint32_t> in(kRows * kGroups * kWidth), out(in.size());
  for (std::size_t i = 0; i < in.size(); ++i) in[i] = static_cast<std::uint32_t>(i);
  kChannelShufflePlain.four_bytes(in.data(), kRows, kGroups, kWidth, out.data());
  Floats expected;
  for (std::int64_t row = 0; row < kRows; ++row)
    for (std::int64_t i = 0; i < kWidth; ++i)
      for (std::int64_t g = 0; g < kGroups; ++g)
        expected.push_back(static_cast<float>((row * kGroups + g) * kWidth + i));
  expect_close("channel shuffle", {out.begin(), out.end()}, expected, 0);
}

void check_winograd() {
  constexpr std::int64_t kSide = 8, kIn = 16, kOut = 32;
  const WinogradShape shape{2, kSide, kSide, kIn, kOut};
  const Floats x = randoms(2 * kSide * kSide * kIn), weight = randoms(kOut * 9 * kIn);
  Floats transformed(kWinogradPoints * kIn * kOut), scratch(kWinogradPlain.scratch_size(shape)),
      y(2 * kSide * kSide * kOut), expected(y.size());
  for (std::int64_t n = 0; n < 2; ++n)
    for (std::int64_t i = 0; i < kSide; ++i)
      for (std::int64_t j = 0; j < kSide; ++j)
        for (std::int64_t tap = 0; tap < 9; ++tap) {
          const std::int64_t h = i + tap / 3 - 1, w = j + tap % 3 - 1;
          if (h < 0 || h >= kSide || w < 0 || w >= kSide) continue;
          for (std::int64_t o = 0; o < kOut; ++o)
            for (std::int64_t c = 0; c < kIn; ++c)
              expected[((n * kSide + i) * kSide + j) * kOut + o] +=
                  x[((n * kSide + h) * kSide + w) * kIn + c] * weight[(o * 9 + tap) * kIn + c];
        }
  kWinogradPlain.forward_weights(weight.data(), nullptr, {kIn, kOut, 0, kOut}, transformed.data());
  WinogradConvolution task{};
  task.shape = shape;
  task.x = x.data();
  task.weight = transformed.data();
  task.y = y.data();
  kWinogradPlain.convolve(task, 0, shape.tiles(), scratch.data());
  expect_close("3x3 convolution, Winograd", y, expected, 1e-5f);
}

}  // namespace
}  // namespace ekd

int main() {
  using namespace ekd;
  check_bn_relu();
  check_depthwise(1);
  check_depthwise(2);
  check_pointwise();
  check_shuffle();
  check_winograd();
  return failures == 0 ? 0 : 1;
}

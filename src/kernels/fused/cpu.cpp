#include "kernels/fused/cpu.h"

#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <vector>

#include "kernels/conv/depthwise_loops.h"
#include "kernels/fused/cpu_parts.h"

#ifdef EKD_X86_KERNELS

namespace ekd {
namespace {

const c10::BFloat16* numbers(const Bf16Bits* p) { return reinterpret_cast<const c10::BFloat16*>(p); }
c10::BFloat16* numbers(Bf16Bits* p) { return reinterpret_cast<c10::BFloat16*>(p); }

}  // namespace

void run_on_cpu(const DepthwiseTask& task) {
  const bool backward = task.grad_x != nullptr;
  const std::int64_t channels = task.channels, pixels = std::int64_t{task.height} * task.width;
  const std::int64_t out_pixels = std::int64_t{task.out_height} * task.out_width;
  const auto& depthwise = kDepthwiseAvx512.bf16;
  const auto& shuffle = kChannelShuffleAvx512.two_bytes;
  const DepthwiseShape shape{task.out_height, task.out_width, channels, task.stride};
  const DepthwiseShape back{task.height, task.width, channels, 1};
  std::vector<float> taps(kDepthwiseTaps * channels), turned(taps);
  for (std::int64_t c = 0; c < channels; ++c)
    for (int tap = 0; tap < kDepthwiseTaps; ++tap) {
      taps[tap * channels + c] = to_float(task.weight[c * kDepthwiseTaps + tap]);
      turned[(kDepthwiseTaps - 1 - tap) * channels + c] = taps[tap * channels + c];
    }
  const ReadCoefficients reading(task.input, 1), grad_reading(task.grad, 1);
  const Places places{1, channels, /*paired=*/true};
  const Mask mask(backward ? task.input : Operand{}, places);
  TotalSums sums(backward ? task.slopes : task.moments, backward ? kGradientOne : kMomentsOne,
                 backward ? static_cast<int>(kSlopeBad) : static_cast<int>(kMomentBad), places);
  std::mutex mutex;
  at::parallel_for(0, task.images, 1, [&](std::int64_t begin, std::int64_t end) {
    auto* read = scratch<Bf16Bits>(For::kRead, pixels * channels + kChannelBlock, /*zeroed=*/false);
    auto* shuffled = scratch<Bf16Bits>(For::kShuffled, pixels * channels + kChannelBlock, /*zeroed=*/false);
    auto* padded = scratch<float>(For::kPadded, std::max(shape.padded_size(), back.padded_size()), /*zeroed=*/true);
    auto* grad = scratch<Bf16Bits>(For::kGradient, out_pixels * channels + kChannelBlock, /*zeroed=*/false);
    auto* spread = scratch<float>(For::kProducts, back.padded_size(), /*zeroed=*/backward);
    std::vector<float> image_taps(taps.size());
    std::vector<Fixed> own_taps(backward ? taps.size() : 0);
    Fixed bad = 0;
    TotalSums::OfThread own(sums);
    const auto read_image = [&](const Operand& operand, const ReadCoefficients& coefficients, std::int64_t at,
                                std::int64_t count, Bf16Bits* to) {
      kFusedLoops.read({bits(operand.x) + at, operand.z != nullptr ? bits(operand.z) + at : nullptr, channels, channels,
                        count, coefficients.of(0), to, channels});
    };
    for (std::int64_t n = begin; n < end; ++n) {
      const std::int64_t at = n * pixels * channels, out_at = n * out_pixels * channels;
      read_image(task.input, reading, at, pixels, read);
      const Bf16Bits* input = read;
      if (task.groups != 1) {
        shuffle(read, pixels, task.groups, channels / task.groups, shuffled);
        input = shuffled;
      }
      depthwise.pad(numbers(input), task.height, task.width, channels, /*step=*/1, padded);
      if (!backward) {
        depthwise.correlate(padded, shape, taps.data(), numbers(bits(task.y) + out_at));
        if (task.moments != nullptr) {
          kFusedLoops.moments({.x = bits(task.y) + out_at,
                               .channels = channels,
                               .pixels = out_pixels,
                               .first = own.first(0),
                               .second = own.second(0)});
          own.close();
        }
        continue;
      }
      read_image(task.grad, grad_reading, out_at, out_pixels, grad);
      depthwise.tap_gradient(padded, numbers(grad), /*images=*/1, shape, image_taps.data());
      if (!kFusedLoops.add_fixed({image_taps.data()}, static_cast<std::int64_t>(image_taps.size()), kGradientOne,
                                 kMostFixed, own_taps.data()))
        ++bad;
      depthwise.pad(numbers(grad), task.out_height, task.out_width, channels, task.stride, spread);
      depthwise.correlate(spread, back, turned.data(), numbers(read));
      const Bf16Bits* result = read;
      if (task.groups != 1) {
        shuffle(read, pixels, channels / task.groups, task.groups, shuffled);
        result = shuffled;
      }
      if (mask.z == nullptr) {
        std::copy_n(result, pixels * channels, bits(task.grad_x) + at);
        continue;
      }
      kFusedLoops.mask_gradient({.x = mask.z + at,
                                 .other = result,
                                 .channels = channels,
                                 .pixels = pixels,
                                 .scale = mask.scale.data(),
                                 .constant = mask.shift.data(),
                                 .mean = mask.mean.data(),
                                 .to = bits(task.grad_x) + at,
                                 .y_step = channels,
                                 .first = own.first(0),
                                 .second = own.second(0)});
      own.close();
    }
    if (!backward) return;
    const std::lock_guard lock(mutex);
    *task.bad += bad;
    for (std::int64_t c = 0; c < channels; ++c)
      for (int tap = 0; tap < kDepthwiseTaps; ++tap)
        task.weight_sums[c * kDepthwiseTaps + tap] += own_taps[tap * channels + c];
  });
}

void run_on_cpu(const JoinTask& task) {
  constexpr std::int64_t kNumbers = 16'384;  // in a piece: it stays in the cache
  const std::int64_t channels = task.z.channels, pixels = task.grid.rows;
  const std::int64_t piece = std::max<std::int64_t>(1, kNumbers / channels);
  const bool is_gradient = task.kind == Join::kBackward;
  const ReadCoefficients coefficients(is_gradient ? Operand{} : task.z, 1);
  const Places places{1, channels, /*paired=*/true};
  const Mask mask(is_gradient ? task.z : Operand{}, places);
  TotalSums sums(task.totals, is_gradient ? kGradientOne : kMomentsOne,
                 is_gradient ? static_cast<int>(kSlopeBad) : static_cast<int>(kMomentBad), places);
  at::parallel_for(0, (pixels + piece - 1) / piece, 1, [&](std::int64_t begin, std::int64_t end) {
    TotalSums::OfThread own(sums);
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t first = i * piece, at = first * channels, wide = first * task.y_pitch;
      ElementPass pass{};
      pass.channels = channels;
      pass.pixels = std::min(piece, pixels - first);
      pass.y_step = task.y_pitch;
      pass.first = own.first(0);
      pass.second = own.second(0);
      pass.x = bits(task.z.x) + at;
      switch (task.kind) {
        case Join::kForward:
          pass.other = task.residual != nullptr ? bits(task.residual) + at : nullptr;
          pass.scale = coefficients.scale();
          pass.constant = coefficients.constant();
          pass.to = bits(task.y) + wide;
          kFusedLoops.join(pass);
          break;
        case Join::kBackward:
          pass.y = bits(task.y) + wide;
          pass.other = bits(task.grad) + wide;
          pass.mean = mask.mean.data();
          pass.to = bits(task.masked) + at;
          kFusedLoops.mask_gradient(pass);
          break;
        case Join::kMoments:
          kFusedLoops.moments(pass);
          break;
        case Join::kNormalisedGradient:
          pass.y = pass.x;
          pass.x = bits(task.z.z) + at;
          pass.other = task.residual != nullptr ? bits(task.residual) + at : nullptr;
          pass.scale = coefficients.scale();
          pass.by_x = coefficients.by_x();
          pass.constant = coefficients.constant();
          pass.to = bits(task.y) + at;
          kFusedLoops.norm_gradient(pass);
          break;
      }
      own.close();
    }
  });
}

void run_on_cpu(const PoolTask& task) {
  const std::int64_t pixels = std::int64_t{task.height} * task.width;
  at::parallel_for(0, task.images, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t n = begin; n < end; ++n) {
      const std::int64_t at = n * pixels * task.channels, pooled = n * pixels / 4 * task.y_pitch + task.first;
      if (task.grad_x != nullptr)
        kFusedLoops.pool_gradient({task.height, task.width, task.channels, bits(task.grad) + pooled, task.y_pitch,
                                   bits(task.grad_x) + at, task.channels});
      else
        kFusedLoops.pool({task.height, task.width, task.channels, bits(task.x) + at, task.channels,
                          bits(task.y) + pooled, task.y_pitch});
    }
  });
}

namespace {

constexpr std::int64_t kNumbersOfThread = 32'768;  // at least

// A block that is one thread, for kernels in which threads have nothing to do with each other.
struct LoneThread {
  int number = 0, block = 0;
  int thread() const { return number; }
  int threads() const { return 1; }
  int x() const { return block; }
};

}  // namespace

void run_on_cpu(const RoundTask& task) {
  at::parallel_for(0, task.count, kNumbersOfThread, [&](std::int64_t begin, std::int64_t end) {
    kFusedLoops.round(task.from + begin, end - begin, bits(task.to) + begin);
  });
}

void run_on_cpu(const GradientTask& task) {
  const float one = *task.bad != 0 ? NAN : 1 / kGradientOne;
  at::parallel_for(0, task.count, kNumbersOfThread, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) task.to[i] = static_cast<float>(task.sums[i]) * one;
  });
}

void run_on_cpu(const RunningTask& task) {
  for (LoneThread block; block.block < task.norms.count; ++block.block) RunningKernel{task}(block);
}

void run_on_cpu(const NormTable& norms) {
  for (LoneThread block; block.block < norms.count; ++block.block) NormGradientKernel{norms}(block);
}

void run_on_cpu(const TermsTask& task) {
  for (LoneThread block; block.number < task.count; ++block.number) TermsKernel{task}(block);
}

}  // namespace ekd

#else

namespace ekd {
namespace {

// Never reached: there is no CPU here that has them.
[[noreturn]] void refuse() { TORCH_CHECK(false, "no fused kernels on this CPU"); }

}  // namespace

void cpu_conv(const CpuConv&, const Operand&, const Bf16*, Bf16*, Fixed*) { refuse(); }
void cpu_conv_gradients(const CpuConv&, const CpuConvGradients&) { refuse(); }
void run_on_cpu(const DepthwiseTask&) { refuse(); }
void run_on_cpu(const JoinTask&) { refuse(); }
void run_on_cpu(const PoolTask&) { refuse(); }
void run_on_cpu(const RoundTask&) { refuse(); }
void run_on_cpu(const GradientTask&) { refuse(); }
void run_on_cpu(const RunningTask&) { refuse(); }
void run_on_cpu(const NormTable&) { refuse(); }
void run_on_cpu(const TermsTask&) { refuse(); }

}  // namespace ekd

#endif

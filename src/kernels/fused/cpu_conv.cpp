// Convolutions of the fused kernels on a CPU.
#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "kernels/fused/cpu.h"
#include "kernels/fused/cpu_parts.h"

#ifdef EKD_X86_KERNELS

namespace ekd {
namespace {

// While it lives, the thread may multiply.
struct Tiles {
  Tiles() { begin_tiles(); }
  ~Tiles() { end_tiles(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

// Where products go: row i, column j is pixel first + i · row_step + j · step of `task`, which speaks of pixel 0.
struct Destination {
  std::int64_t first, row_step, step;
  std::int64_t rows, columns, pixels;
  WritePixels task;
};

// How images lie when they are multiplied. Their result's pixel (i, j) has position i · pitch + j; the positions
// between rows are computed and thrown away. Of small images a unit has several, one below the other. What is read lies
// in one plane, or for stride 2 in four: of even and odd rows and columns; so each tap of the kernel is the same
// positions, moved. A 1×1 convolution of stride 1 sees no images: its units are pieces of all pixels.
class Frame {
 public:
  struct Unit {
    std::int64_t image, images;          // the first, and how many
    std::int64_t rows, columns, pixels;  // of an image's result
    std::int64_t first;                  // of the result's pixels
    bool is_cut;                         // smaller than the others
  };

  explicit Frame(const CpuConv& conv)
      : conv_(conv), flat_(conv.kernel == 1 && conv.stride == 1), wide_(conv.kernel == 3) {
    const std::int64_t border = !wide_ ? 0 : conv.stride == 1 ? 2 : 1;
    if (flat_) {
      all_pixels_ = conv.images * conv.out_height * conv.out_width;
      rows_ = kFlatRows;
      columns_ = kFlatColumns;
      units_ = (all_pixels_ + kFlatRows * kFlatColumns - 1) / (kFlatRows * kFlatColumns);
    } else {
      rows_ = conv.out_height;
      columns_ = conv.out_width;
    }
    pitch_ = columns_ + border;
    image_ = (rows_ + (border > 0 ? 1 : 0)) * pitch_;  // a row of zeros between two images serves both
    if (!flat_) {
      const std::int64_t positions = std::min(kPositions, kNumbers / whole_blocks(std::max(conv.in, conv.out)));
      stack_ = std::min(conv.images, (positions + image_ - 1) / image_);
      units_ = (conv.images + stack_ - 1) / stack_;
    }
    plane_ = stack_ * image_ + pitch_;
    for (std::int64_t tap = 0; tap < conv.kernel * conv.kernel; ++tap) {
      const std::int64_t y = tap / conv.kernel, x = tap % conv.kernel;
      taps_.push_back(conv.stride == 1 ? y * pitch_ + x : (y % 2 * 2 + x % 2) * plane_ + y / 2 * pitch_ + x / 2);
    }
  }

  std::int64_t units() const { return units_; }
  std::int64_t pitch() const { return pitch_; }
  const std::vector<std::int64_t>& taps() const { return taps_; }
  std::int64_t positions() const { return whole_blocks(stack_ * image_); }  // of a unit's result
  std::int64_t image() const { return image_; }  // positions from one image of a unit to the next
  // With what products of whole tiles read beyond.
  std::int64_t read_positions() const {
    return std::ranges::max(taps_) + std::max(plane_, positions()) + 2 * kChannelBlock;
  }
  std::int64_t gradient_positions() const { return positions() + 3 * pitch_ + 2 * kChannelBlock; }
  // Where in a gradient's memory the positions of the result begin; around them lie zeros.
  std::int64_t gradient_origin() const { return wide_ && conv_.stride == 1 ? pitch_ + 1 : 0; }

  Unit unit(std::int64_t u) const {
    const std::int64_t whole = rows_ * columns_;
    if (!flat_) {
      const std::int64_t image = u * stack_, images = std::min(stack_, conv_.images - image);
      return {image, images, rows_, columns_, whole, image * whole, images < stack_};
    }
    const std::int64_t pixels = std::min(whole, all_pixels_ - u * whole);
    return {u, 1, (pixels + columns_ - 1) / columns_, columns_, pixels, u * whole, pixels < whole};
  }

  // Calls work(first pixel, pixels, step between them, position) for runs of pixels of what the convolution reads.
  template <class Work>
  void each_read_run(const Unit& unit, const Work& work) const {
    if (flat_) return work(unit.first, unit.pixels, 1, 0);
    for (std::int64_t n = 0; n < unit.images; ++n) {
      const std::int64_t first = (unit.image + n) * conv_.height * conv_.width, at = n * image_;
      if (conv_.stride == 1) {
        for (std::int64_t y = 0; y < conv_.height; ++y)
          work(first + y * conv_.width, conv_.width, 1, at + (wide_ ? (y + 1) * pitch_ + 1 : y * pitch_));
      } else if (!wide_) {
        for (std::int64_t y = 0; y < rows_; ++y) work(first + 2 * y * conv_.width, columns_, 2, at + y * pitch_);
      } else {
        for (std::int64_t y = 0; y < conv_.height; ++y)
          for (std::int64_t x = 0; x < std::min<std::int64_t>(2, conv_.width); ++x)
            work(first + y * conv_.width + x, (conv_.width - x + 1) / 2, 2,
                 at + ((y + 1) % 2 * 2 + (x + 1) % 2) * plane_ + (y + 1) / 2 * pitch_ + (x + 1) / 2);
      }
    }
  }
  // The same of the result, or its gradient.
  template <class Work>
  void each_result_run(const Unit& unit, const Work& work) const {
    if (flat_) return work(unit.first, unit.pixels, 1, 0);
    for (std::int64_t n = 0; n < unit.images; ++n)
      for (std::int64_t i = 0; i < rows_; ++i)
        work(unit.first + (n * rows_ + i) * columns_, columns_, 1, gradient_origin() + n * image_ + i * pitch_);
  }

  // The pixels that a gradient by the input has in common rows and columns of its stride: where a tap of the kernel
  // finds the gradient by the result.
  struct Phase {
    std::int64_t y, x, rows, columns;
    std::vector<std::int64_t> from;     // positions
    std::vector<std::int64_t> weights;  // taps of the kernel
  };
  std::vector<Phase> phases() const {
    std::vector<Phase> result;
    for (std::int64_t y = 0; y < conv_.stride; ++y)
      for (std::int64_t x = 0; x < conv_.stride; ++x) {
        Phase phase{y,
                    x,
                    flat_ ? rows_ : (conv_.height - y + conv_.stride - 1) / conv_.stride,
                    flat_ ? columns_ : (conv_.width - x + conv_.stride - 1) / conv_.stride,
                    {},
                    {}};
        for (std::int64_t tap = 0; tap < conv_.kernel * conv_.kernel; ++tap) {
          // Pixel s · i + y went into the result's row i + (y + pad - tap row) / s.
          const std::int64_t pad = conv_.kernel / 2, down = y + pad - tap / conv_.kernel,
                             across = x + pad - tap % conv_.kernel;
          if (down % conv_.stride != 0 || across % conv_.stride != 0) continue;
          phase.from.push_back(gradient_origin() + down / conv_.stride * pitch_ + across / conv_.stride);
          phase.weights.push_back(tap);
        }
        result.push_back(std::move(phase));
      }
    return result;
  }

  // Of image n of a unit: the result, and a phase's pixels of the gradient by the input.
  Destination result(const Unit& unit, std::int64_t n, const WritePixels& task) const {
    return {unit.first + n * unit.pixels, unit.columns, 1, unit.rows, unit.columns, unit.pixels, task};
  }
  Destination gradient(const Unit& unit, std::int64_t n, const Phase& phase, const WritePixels& task) const {
    if (flat_) return result(unit, n, task);
    const std::int64_t first = ((unit.image + n) * conv_.height + phase.y) * conv_.width + phase.x;
    return {first,         conv_.stride * conv_.width, conv_.stride, phase.rows,
            phase.columns, phase.rows * phase.columns, task};
  }

 private:
  static constexpr std::int64_t kFlatRows = 16, kFlatColumns = 16;
  // Of a unit, about: enough for products of some length, as long as the cache of a core holds its numbers.
  static constexpr std::int64_t kPositions = 512, kNumbers = 1 << 16;

  CpuConv conv_;
  bool flat_, wide_;
  std::int64_t all_pixels_ = 0, units_ = 0, rows_ = 0, columns_ = 0, pitch_ = 0, image_ = 0, plane_ = 0;
  std::int64_t stack_ = 1;  // images of a unit
  std::vector<std::int64_t> taps_;
};

// Weights as products read them: for each group and tap in blocks of columns, [columns / 32, inner / 2, 32, 2].
const Bf16Bits* packed_weights(const CpuConv& conv, bool turned) {
  const std::int64_t taps = conv.kernel * conv.kernel;
  const std::int64_t inner = whole_blocks(turned ? conv.out : conv.in),
                     columns = whole_blocks(turned ? conv.in : conv.out);
  auto* result = scratch<Bf16Bits>(For::kWeights, conv.groups * taps * inner * columns, /*zeroed=*/true);
  at::parallel_for(0, conv.groups * taps, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t matrix = begin; matrix < end; ++matrix) {
      const Bf16Bits* from = bits(conv.weight) + (matrix / taps * conv.out * taps + matrix % taps) * conv.in;
      const std::int64_t from_out = taps * conv.in;
      Bf16Bits* to = result + matrix * inner * columns;
      constexpr std::int64_t kPair = 2 * kChannelBlock;
      for (std::int64_t o = 0; o < conv.out; ++o, from += from_out) {
        if (turned) {
          for (std::int64_t i = 0; i < conv.in; ++i)
            to[i / kChannelBlock * inner * kChannelBlock + o / 2 * kPair + i % kChannelBlock * 2 + o % 2] = from[i];
        } else {
          Bf16Bits* column = to + o / kChannelBlock * inner * kChannelBlock + o % kChannelBlock * 2;
          for (std::int64_t i = 0; i + 1 < conv.in; i += 2)
            std::memcpy(column + i / 2 * kPair, from + i, 2 * sizeof *from);
          if (conv.in % 2 != 0) column[conv.in / 2 * kPair] = from[conv.in - 1];
        }
      }
    }
  });
  return result;
}

// The pixels of a unit to memory for products, [groups, positions, whole blocks of channels].
template <class Runs>
void read_unit(const Operand& operand, const ReadCoefficients& coefficients, std::int64_t groups,
               std::int64_t positions, const Runs& each_run, Bf16Bits* to) {
  const std::int64_t channels = operand.channels / groups, padded = whole_blocks(channels);
  each_run([&](std::int64_t pixel, std::int64_t pixels, std::int64_t step, std::int64_t position) {
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t at = pixel * operand.channels + g * channels;
      kFusedLoops.read({bits(operand.x) + at, operand.z != nullptr ? bits(operand.z) + at : nullptr,
                        step * operand.channels, channels, pixels, coefficients.of(g),
                        to + (g * positions + position) * padded, padded});
    }
  });
}

constexpr std::int64_t kProductBytes = 8 << 10;  // of products, before they are written: they stay in the nearest cache

// Multiplies the positions of all rows, `pitch` from one to the next, and writes them, some at a time.
void multiply_and_write(TapProduct product, std::int64_t pitch, const Destination& to) {
  constexpr std::int64_t kRows = 16;  // of a product's tile
  const std::int64_t at_once = std::max(2 * kRows, kProductBytes / 4 / product.columns / kRows * kRows);
  product.c = scratch<float>(For::kProducts, at_once * product.columns, /*zeroed=*/false);
  product.c_row = product.columns;
  // Rows that follow each other without a gap are one.
  const bool is_one_row = pitch == to.columns && to.row_step == to.columns * to.step;
  const std::int64_t row_pitch = is_one_row ? to.pixels : pitch, columns = is_one_row ? to.pixels : to.columns;
  const std::int64_t end = is_one_row ? to.pixels : to.rows * pitch;
  const Bf16Bits* a = product.a;
  for (std::int64_t first = 0; first < end; first += at_once) {
    const std::int64_t last = std::min(first + at_once, end);
    product.a = a + first * product.a_row;
    product.rows = (last - first + kRows - 1) / kRows * kRows;
    multiply_taps(product);
    for (std::int64_t row = first / row_pitch; row * row_pitch < last; ++row) {
      const std::int64_t from = std::max(first - row * row_pitch, std::int64_t{0});
      const std::int64_t until = std::min(last - row * row_pitch, columns);
      if (from >= until) continue;
      WritePixels task = to.task;
      const std::int64_t at = (to.first + row * to.row_step + from * to.step) * task.y_step;
      task.from = product.c + (row * row_pitch + from - first) * product.columns;
      task.from_step = product.columns;
      task.pixels = until - from;
      task.y += at;
      if (task.added != nullptr) task.added += at;
      if (task.z != nullptr) task.z += at;
      task.y_step *= to.step;
      kFusedLoops.write(task);
    }
  }
}

std::vector<std::int64_t> scaled(const std::vector<std::int64_t>& values, std::int64_t factor) {
  std::vector<std::int64_t> result(values);
  for (auto& value : result) value *= factor;
  return result;
}

std::vector<std::int64_t> multiples(std::int64_t count, std::int64_t of) {
  std::vector<std::int64_t> result(count);
  for (std::int64_t i = 0; i < count; ++i) result[i] = i * of;
  return result;
}

// Few enough that adding them up costs little beside making them; many enough for the cores of a server.
std::int64_t weight_parts(std::int64_t weights, std::int64_t units) {
  constexpr std::int64_t kSums = 1 << 19, kFewest = 4, kMost = 32;
  return std::min(units, std::clamp(kSums / weights, kFewest, kMost));
}

// Of the gradient, transposed for the products by the weight at a time: a block of their channels fits the nearest
// cache.
constexpr std::int64_t kTurnedPositions = 288;

}  // namespace

void cpu_conv(const CpuConv& conv, const Operand& input, const Bf16* added, Bf16* y, Fixed* moments) {
  const Frame frame(conv);
  const ReadCoefficients coefficients(input, conv.groups);
  const Bf16Bits* weights = packed_weights(conv, /*turned=*/false);
  const std::int64_t in = whole_blocks(conv.in), out = whole_blocks(conv.out), positions = frame.read_positions();
  const auto taps = static_cast<std::int64_t>(frame.taps().size());
  const auto a_taps = scaled(frame.taps(), in), b_taps = multiples(taps, in * out);
  TotalSums sums(moments, kMomentsOne, kMomentBad, {conv.groups, conv.out, /*paired=*/false});
  at::parallel_for(0, frame.units(), 1, [&](std::int64_t begin, std::int64_t end) {
    auto* read = scratch<Bf16Bits>(For::kRead, conv.groups * positions * in, /*zeroed=*/true);
    TotalSums::OfThread own(sums);
    const Tiles tiles;
    for (std::int64_t u = begin; u < end; ++u) {
      const Frame::Unit unit = frame.unit(u);
      read_unit(
          input, coefficients, conv.groups, positions, [&](const auto& work) { frame.each_read_run(unit, work); },
          read);
      for (std::int64_t g = 0; g < conv.groups; ++g) {
        TapProduct product{.a = read + g * positions * in,
                           .a_row = in,
                           .b = weights + g * taps * in * out,
                           .b_block = in * kChannelBlock,
                           .inner = in,
                           .columns = out,
                           .taps = taps,
                           .a_taps = a_taps.data(),
                           .b_taps = b_taps.data()};
        const WritePixels task{.channels = conv.out,
                               .y = bits(y) + g * conv.out,
                               .y_step = conv.groups * conv.out,
                               .added = added != nullptr ? bits(added) + g * conv.out : nullptr,
                               .first = own.first(g * out),
                               .second = own.second(g * out)};
        for (std::int64_t n = 0; n < unit.images; ++n, product.a += frame.image() * in)
          multiply_and_write(product, frame.pitch(), frame.result(unit, n, task));
      }
      own.close();
    }
  });
}

namespace {

// The gradient by the weight of some units: sums [groups · out, taps, in], in whole blocks.
class WeightSums {
 public:
  WeightSums(const CpuConv& conv, const Frame& frame)
      : frame_(frame), groups_(conv.groups), in_(whole_blocks(conv.in)), out_(whole_blocks(conv.out)) {
    for (const std::int64_t parity : {0, 1})
      for (std::int64_t tap = 0; tap < taps(); ++tap)
        if (frame.taps()[tap] % 2 == parity) order_.push_back(tap);
  }

  std::int64_t count() const { return groups_ * out_ * taps() * in_; }

  // read and grad: of all groups, as they lie for products.
  void add(const Bf16Bits* read, const Bf16Bits* grad, bool is_first, float* sums) const {
    const std::int64_t positions = frame_.positions(), chunks = (positions + kTurnedPositions - 1) / kTurnedPositions;
    const std::int64_t chunk = whole_blocks((positions + chunks - 1) / chunks),
                       pairs = (frame_.read_positions() - 1) / 2;
    auto* even = scratch<Bf16Bits>(For::kPairs, 4 * pairs * in_, /*zeroed=*/false);
    Bf16Bits* odd = even + 2 * pairs * in_;
    auto* turned = scratch<Bf16Bits>(For::kTurned, chunk * out_, /*zeroed=*/false);
    const std::int64_t none = 0;
    for (std::int64_t g = 0; g < groups_; ++g) {
      const Bf16Bits* from = read + g * frame_.read_positions() * in_;
      kFusedLoops.pair_rows(from, in_, pairs, even);
      if (taps() > 1) kFusedLoops.pair_rows(from + in_, in_, pairs, odd);
      const Bf16Bits* by = grad + (g * frame_.gradient_positions() + frame_.gradient_origin()) * out_;
      for (std::int64_t first = 0; first < positions; first += chunk) {
        const std::int64_t count = std::min(chunk, positions - first);
        kFusedLoops.transpose(by + first * out_, out_, count, out_, turned, chunk);
        for (const std::int64_t tap : order_) {
          const std::int64_t at = first + frame_.taps()[tap];
          multiply_taps({.a = turned,
                         .a_row = chunk,
                         .b = (at % 2 == 0 ? even : odd) + at / 2 * 2 * kChannelBlock,
                         .b_block = 2 * pairs * kChannelBlock,
                         .c = sums + (g * out_ * taps() + tap) * in_,
                         .c_row = taps() * in_,
                         .rows = out_,
                         .inner = count,
                         .columns = in_,
                         .taps = 1,
                         .a_taps = &none,
                         .b_taps = &none,
                         .adds = !is_first || first > 0});
        }
      }
    }
  }

  // `parts` sums, one after another, in order.
  void total(const CpuConv& conv, const float* sums, std::int64_t parts, Fixed* to, Fixed* bad) const {
    std::atomic<Fixed> beyond = 0;
    at::parallel_for(0, conv.groups * conv.out, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t o = begin; o < end; ++o) {
        const float* row = sums + (o / conv.out * out_ + o % conv.out) * taps() * in_;
        for (std::int64_t tap = 0; tap < taps(); ++tap)
          if (!kFusedLoops.add_fixed({row + tap * in_, parts, count()}, conv.in, kGradientOne, kMostFixed,
                                     to + (o * taps() + tap) * conv.in))
            ++beyond;
      }
    });
    *bad += beyond;
  }

 private:
  std::int64_t taps() const { return static_cast<std::int64_t>(frame_.taps().size()); }

  const Frame& frame_;
  std::int64_t groups_, in_, out_;
  std::vector<std::int64_t> order_;  // of taps: those that read the same pairs one after another
};

}  // namespace

void cpu_conv_gradients(const CpuConv& conv, const CpuConvGradients& task) {
  const Frame frame(conv);
  const ReadCoefficients read_coefficients(task.read, conv.groups), grad_coefficients(task.grad, conv.groups);
  const std::int64_t in = whole_blocks(conv.in), out = whole_blocks(conv.out);
  const std::int64_t read_positions = frame.read_positions(), grad_positions = frame.gradient_positions();
  const std::int64_t taps = conv.kernel * conv.kernel, units = frame.units();
  const Places places{conv.groups, conv.in, /*paired=*/false};
  const Mask mask(task.read, places);
  TotalSums slopes(task.slopes, kGradientOne, kSlopeBad, places);
  const WeightSums weight_sums(conv, frame);
  const std::int64_t parts = weight_parts(weight_sums.count(), units);
  const std::unique_ptr<float[]> by_weight(task.sums != nullptr ? new float[parts * weight_sums.count()] : nullptr);

  struct Way {
    Frame::Phase phase;
    std::vector<std::int64_t> a_taps, b_taps;
  };
  std::vector<Way> ways;
  const Bf16Bits* weights = nullptr;
  if (task.grad_x != nullptr) {
    weights = packed_weights(conv, /*turned=*/true);
    for (auto& phase : frame.phases()) {
      Way way{std::move(phase), {}, {}};
      way.a_taps = scaled(way.phase.from, out);
      way.b_taps = scaled(way.phase.weights, in * out);
      ways.push_back(std::move(way));
    }
  }

  at::parallel_for(0, parts, 1, [&](std::int64_t begin, std::int64_t end) {
    auto* grad = scratch<Bf16Bits>(For::kGradient, conv.groups * grad_positions * out, /*zeroed=*/true);
    auto* read = scratch<Bf16Bits>(For::kRead, conv.groups * read_positions * in, /*zeroed=*/true);
    TotalSums::OfThread own(slopes);
    const Tiles tiles;
    for (std::int64_t part = begin; part < end; ++part) {
      const std::int64_t first = units * part / parts, last = units * (part + 1) / parts;
      for (std::int64_t u = first; u < last; ++u) {
        const Frame::Unit unit = frame.unit(u);
        if (unit.is_cut)  // what lies behind its end is another unit's
          std::fill_n(grad, conv.groups * grad_positions * out, Bf16Bits{0});
        read_unit(
            task.grad, grad_coefficients, conv.groups, grad_positions,
            [&](const auto& work) { frame.each_result_run(unit, work); }, grad);
        if (task.sums != nullptr) {
          read_unit(
              task.read, read_coefficients, conv.groups, read_positions,
              [&](const auto& work) { frame.each_read_run(unit, work); }, read);
          weight_sums.add(read, grad, u == first, by_weight.get() + part * weight_sums.count());
        }
        for (const Way& way : ways)
          for (std::int64_t g = 0; g < conv.groups; ++g) {
            TapProduct product{.a = grad + g * grad_positions * out,
                               .a_row = out,
                               .b = weights + g * taps * in * out,
                               .b_block = out * kChannelBlock,
                               .inner = out,
                               .columns = in,
                               .taps = static_cast<std::int64_t>(way.a_taps.size()),
                               .a_taps = way.a_taps.data(),
                               .b_taps = way.b_taps.data()};
            const WritePixels to{.channels = conv.in,
                                 .y = bits(task.grad_x) + g * conv.in,
                                 .y_step = conv.groups * conv.in,
                                 .added = task.added != nullptr ? bits(task.added) + g * conv.in : nullptr,
                                 .z = mask.z != nullptr ? mask.z + g * conv.in : nullptr,
                                 .scale = mask.of(mask.scale, g * in),
                                 .shift = mask.of(mask.shift, g * in),
                                 .mean = mask.of(mask.mean, g * in),
                                 .first = own.first(g * in),
                                 .second = own.second(g * in)};
            for (std::int64_t n = 0; n < unit.images; ++n, product.a += frame.image() * out)
              multiply_and_write(product, frame.pitch(), frame.gradient(unit, n, way.phase, to));
          }
        own.close();
      }
    }
  });
  if (task.sums != nullptr) weight_sums.total(conv, by_weight.get(), parts, task.sums, task.bad);
}

}  // namespace ekd

#endif

#include "kernels/bn_relu/bn_relu_loops.h"

#include <type_traits>

#include "kernels/cpu_loops.h"
#include "kernels/simd/pair.h"

namespace ekd {
namespace {

static_assert(kBnReluColumns % kLanes == 0);

// Runs a loop down the columns of rows of `period` numbers: begin(column) loads what belongs to the channel,
// step(channel, index) works on one number, end(channel, column) stores sums.
template <class Loop>
void walk(const Loop& loop, std::int64_t count, std::int64_t period) {
  const std::int64_t whole = count - count % period;
  const auto columns = [&](std::int64_t first, auto pairs) {
    constexpr int kPairs = decltype(pairs)::value;
    typename Loop::template Channel<Pair> channel[kPairs];
    for (int k = 0; k < kPairs; ++k) channel[k] = loop.template begin<Pair>(first + k * kLanes);
    for (std::int64_t row = first; row < whole; row += period)
      for (int k = 0; k < kPairs; ++k) loop.step(channel[k], row + k * kLanes);
    for (int k = 0; k < kPairs; ++k) loop.end(channel[k], first + k * kLanes);
  };
  constexpr int kWide = 4;  // whole cache lines at a time, with the sums in registers
  std::int64_t first = 0;
  for (; first + kWide * kLanes <= period; first += kWide * kLanes)
    columns(first, std::integral_constant<int, kWide>{});
  for (; first < period; first += kLanes) columns(first, std::integral_constant<int, 1>{});
  for (std::int64_t i = whole; i < count; ++i) {
    auto channel = loop.template begin<float>(i - whole);
    loop.step(channel, i);
    loop.end(channel, i - whole);
  }
}

template <class T>
struct Moments {
  const T* x;
  const float* origin;
  float *sum, *square;

  template <class Number>
  struct Channel {
    Number origin, sum, square;
  };
  template <class Number>
  Channel<Number> begin(std::int64_t column) const {
    return {load<Number>(origin + column), zero<Number>(), zero<Number>()};
  }
  template <class Number>
  void step(Channel<Number>& c, std::int64_t i) const {
    const Number moved = load<Number>(x + i) - c.origin;
    c.sum = c.sum + moved;
    c.square = multiply_add(moved, moved, c.square);
  }
  template <class Number>
  void end(const Channel<Number>& c, std::int64_t column) const {
    accumulate(c.sum, sum + column);
    accumulate(c.square, square + column);
  }
};

template <bool kStreams, class Number, class T>
void write(Number v, T* p) {
  if constexpr (kStreams)
    stream(v, p);
  else
    store(v, p);
}

template <bool kResidual, bool kStreams, class T>
struct Forward {
  const T *x, *residual;
  ScaleShift affine;
  T* y;

  template <class Number>
  struct Channel {
    Number scale, shift;
  };
  template <class Number>
  Channel<Number> begin(std::int64_t column) const {
    return {load<Number>(affine.scale + column), load<Number>(affine.shift + column)};
  }
  template <class Number>
  void step(Channel<Number>& c, std::int64_t i) const {
    Number value = multiply_add(load<Number>(x + i), c.scale, c.shift);
    if constexpr (kResidual) value = value + load<Number>(residual + i);
    write<kStreams>(rectify(value), y + i);
  }
  template <class Number>
  void end(const Channel<Number>&, std::int64_t) const {}
};

// With a residual the mask comes from the result and the masked gradient, which is the residual's, is written.
template <bool kResidual, bool kStreams, class T>
struct BackwardSums {
  const T *grad, *x, *y;
  ScaleShift affine;
  const float* origin;
  T* masked;
  float *sum, *product;

  template <class Number>
  struct Channel {
    Number scale, shift, origin, sum, product;
  };
  template <class Number>
  Channel<Number> begin(std::int64_t column) const {
    return {load<Number>(affine.scale + column), load<Number>(affine.shift + column), load<Number>(origin + column),
            zero<Number>(), zero<Number>()};
  }
  template <class Number>
  void step(Channel<Number>& c, std::int64_t i) const {
    const Number value = load<Number>(x + i);
    Number result;
    if constexpr (kResidual)
      result = load<Number>(y + i);
    else
      result = multiply_add(value, c.scale, c.shift);
    const Number g = where_positive(result, load<Number>(grad + i));
    if constexpr (kResidual) write<kStreams>(g, masked + i);
    c.sum = c.sum + g;
    c.product = multiply_add(g, value - c.origin, c.product);
  }
  template <class Number>
  void end(const Channel<Number>& c, std::int64_t column) const {
    accumulate(c.sum, sum + column);
    accumulate(c.product, product + column);
  }
};

template <bool kMasked, bool kStreams, class T>
struct BackwardInput {
  const T *grad, *x;
  ScaleShift affine;
  BnReluInputGradient gradient;
  T* grad_x;

  template <class Number>
  struct Channel {
    Number scale, shift, by_grad, by_x, constant;
  };
  template <class Number>
  Channel<Number> begin(std::int64_t column) const {
    return {load<Number>(affine.scale + column), load<Number>(affine.shift + column),
            load<Number>(gradient.grad + column), load<Number>(gradient.x + column),
            load<Number>(gradient.constant + column)};
  }
  template <class Number>
  void step(Channel<Number>& c, std::int64_t i) const {
    const Number value = load<Number>(x + i);
    Number g = load<Number>(grad + i);
    if constexpr (!kMasked) g = where_positive(multiply_add(value, c.scale, c.shift), g);
    write<kStreams>(multiply_add(g, c.by_grad, multiply_add(value, c.by_x, c.constant)), grad_x + i);
  }
  template <class Number>
  void end(const Channel<Number>&, std::int64_t) const {}
};

// run(constant of streams) with the loop that it names.
template <class Run>
void run_streaming(bool streams, const Run& run) {
  if (!streams) return run(std::false_type{});
  run(std::true_type{});
  end_stream();
}

template <class T>
constexpr BnReluLoops<T> kLoops{
    .moments =
        [](const T* x, BnReluSpan span, const float* origin, float* sum, float* square) {
          walk(Moments<T>{x, origin, sum, square}, span.count, span.period);
        },
    .forward =
        [](const T* x, const T* residual, BnReluSpan span, ScaleShift affine, T* y, bool streams) {
          run_streaming(streams, [&](auto constant) {
            constexpr bool kStreams = decltype(constant)::value;
            if (residual)
              walk(Forward<true, kStreams, T>{x, residual, affine, y}, span.count, span.period);
            else
              walk(Forward<false, kStreams, T>{x, residual, affine, y}, span.count, span.period);
          });
        },
    .backward_sums =
        [](const T* grad, const T* x, const T* y, BnReluSpan span, ScaleShift affine, const float* origin, T* masked,
           bool streams, float* sum, float* product) {
          run_streaming(streams, [&](auto constant) {
            constexpr bool kStreams = decltype(constant)::value;
            if (y)
              walk(BackwardSums<true, kStreams, T>{grad, x, y, affine, origin, masked, sum, product}, span.count,
                   span.period);
            else
              walk(BackwardSums<false, kStreams, T>{grad, x, y, affine, origin, masked, sum, product}, span.count,
                   span.period);
          });
        },
    .backward_input =
        [](const T* grad, bool masked, const T* x, BnReluSpan span, ScaleShift affine, BnReluInputGradient gradient,
           T* grad_x, bool streams) {
          run_streaming(streams, [&](auto constant) {
            constexpr bool kStreams = decltype(constant)::value;
            if (masked)
              walk(BackwardInput<true, kStreams, T>{grad, x, affine, gradient, grad_x}, span.count, span.period);
            else
              walk(BackwardInput<false, kStreams, T>{grad, x, affine, gradient, grad_x}, span.count, span.period);
          });
        },
};

}  // namespace

extern const BnReluTable EKD_TABLE(kBnRelu){kLoops<float>, kLoops<BFloat16>};

}  // namespace ekd

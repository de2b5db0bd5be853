#include "ekd/kernels/conv.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <memory>
#include <type_traits>
#include <vector>

#include "ekd/core/device.h"
#include "kernels/conv/pointwise_loops.h"
#include "kernels/cpu_loops.h"

namespace ekd {

namespace {

template <class T>
const PointwiseLoops<T>& loops() {
  if constexpr (std::is_same_v<T, float>) {
    return EKD_CPU_TABLE(kPointwise);
  } else {
#ifdef EKD_X86_KERNELS
    return kPointwiseBf16;
#else
    TORCH_CHECK(false, "pointwise: no bfloat16 on this CPU");
#endif
  }
}

constexpr std::int64_t kRowGrain = 60;            // fewest rows for a thread
constexpr std::int64_t kRowBlock = 240;           // a multiple of every tile's height
constexpr std::int64_t kPointwisePartRows = 256;  // at least, in a part of the backward pass, which has sums of its own
constexpr std::int64_t kPointwiseParts = 16;      // they have to be added up

// The two sides of the convolution, as matrices [rows, channels].
struct GroupedShape {
  GroupedShape(const at::Tensor& x, const at::Tensor& weight, std::int64_t number)
      : groups(number), rows(x.numel() / x.size(1)), in(weight.size(1)), out(weight.size(0) / number) {}

  // Whether the longer side of a group's weights is the input's.
  bool turned() const { return in >= out; }

  std::int64_t groups, rows, in, out;  // in and out: channels of a group
};

// A group's columns of x; T is Bf16Bits or float, as x's numbers are.
template <class T>
MatrixView<const T> group_of(const at::Tensor& x, std::int64_t channels, std::int64_t group) {
  return {static_cast<const T*>(x.const_data_ptr()) + group * channels, x.size(1)};
}

template <class T>
MatrixView<T> group_of_result(const at::Tensor& x, std::int64_t channels, std::int64_t group) {
  return {static_cast<T*>(x.mutable_data_ptr()) + group * channels, x.size(1)};
}

// The weights of each group as a factor [in, out], or [out, in] for the way back.
template <class T>
class Factors {
 public:
  Factors(const at::Tensor& weight, const GroupedShape& shape, bool back)
      : groups_(shape.groups), inner_(back ? shape.out : shape.in), columns_(back ? shape.in : shape.out) {
    const at::Tensor plain = weight.contiguous();
    panels_.resize(groups_ * size());
    for (std::int64_t g = 0; g < groups_; ++g) {
      const float* values = plain.const_data_ptr<float>() + g * shape.out * shape.in;
      loops<T>().pack_panels(values, inner_, columns_, back ? shape.in : 1, back ? 1 : shape.in,
                             panels_.data() + g * size());
    }
  }

  std::int64_t groups() const { return groups_; }
  PackedMatrix<T> of(std::int64_t group) const { return {inner_, columns_, panels_.data() + group * size()}; }

 private:
  std::int64_t size() const { return loops<T>().packed_size(inner_, columns_); }

  std::int64_t groups_, inner_, columns_;
  std::vector<T> panels_;
};

// `count` rows of y's group, from `row` on: those of x's group, which begin at `a`, times the group's factor.
template <class T>
void multiply_rows(MatrixView<const T> a, std::int64_t row, std::int64_t count, const Factors<T>& factors,
                   std::int64_t group, const at::Tensor& y) {
  const PackedMatrix<T> factor = factors.of(group);
  const MatrixView<T> c = group_of_result<T>(y, factor.columns, group);
  loops<T>().multiply(a, count, factor, {c.data + row * c.stride, c.stride},
                      /*streams=*/static_cast<std::int64_t>(y.nbytes()) >= kStreamedBytes);
}

// y's group g = x's group g · factors of g. Rows do not see each other, so threads may divide them anywhere.
template <class T>
void multiply_groups(const at::Tensor& x, const Factors<T>& factors, std::int64_t rows, const at::Tensor& y) {
  at::parallel_for(0, rows, kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; row += kRowBlock)
      for (std::int64_t g = 0; g < factors.groups(); ++g) {
        const auto a = group_of<T>(x, factors.of(g).inner, g);
        multiply_rows<T>({a.data + row * a.stride, a.stride}, row, std::min(kRowBlock, end - row), factors, g, y);
      }
  });
}

// The rows of the backward pass in parts, whose size depends on the shape only; even, since bf16 rows go in pairs.
struct Parts {
  explicit Parts(std::int64_t all)
      : rows(all),
        size(std::max(kPointwisePartRows, (rows + kPointwiseParts - 1) / kPointwiseParts + 1) / 2 * 2),
        number((rows + size - 1) / size) {}

  std::int64_t rows, size, number;
};

// What both gradients of a group read: one after the other, while its rows are in the cache.
template <class T>
class BackwardGroup {
 public:
  BackwardGroup(const at::Tensor& grad, const at::Tensor& x, const GroupedShape& shape, std::int64_t group)
      : shape_(shape), grad_(group_of<T>(grad, shape.out, group)), x_(group_of<T>(x, shape.in, group)) {}

  MatrixView<const T> grad(std::int64_t row) const { return {grad_.data + row * grad_.stride, grad_.stride}; }

  // sums += the products of `count` rows, with the group's longer side along the vectors.
  void add_products(std::int64_t row, std::int64_t count, float* sums, std::uint32_t* scratch) const {
    const MatrixView<const T> x{x_.data + row * x_.stride, x_.stride};
    if (shape_.turned())
      loops<T>().multiply_transposed(grad(row), shape_.out, x, shape_.in, count, {sums, shape_.in}, scratch);
    else
      loops<T>().multiply_transposed(x, shape_.in, grad(row), shape_.out, count, {sums, shape_.out}, scratch);
  }

 private:
  const GroupedShape& shape_;
  MatrixView<const T> grad_, x_;
};

// The sums of all parts, in order.
at::Tensor added_up(const float* sums, std::int64_t parts, const at::Tensor& weight, const GroupedShape& shape) {
  at::Tensor result = at::empty(weight.sizes(), weight.options());  // [out, in] for each group
  float* target = result.mutable_data_ptr<float>();
  const std::int64_t values = weight.numel(), apart = shape.turned() ? 1 : shape.out;  // input channels
  at::parallel_for(0, shape.groups * shape.out, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t g = row / shape.out, o = row % shape.out;
      const std::int64_t offset = g * shape.in * shape.out + (shape.turned() ? o * shape.in : o);
      for (std::int64_t i = 0; i < shape.in; ++i) {
        float sum = 0;
        for (std::int64_t part = 0; part < parts; ++part) sum += sums[part * values + offset + i * apart];
        target[row * shape.in + i] = sum;
      }
    }
  });
  return result;
}

template <class T>
at::Tensor forward(const at::Tensor& x, const at::Tensor& weight, const GroupedShape& shape) {
  const at::Tensor y =
      at::empty({x.size(0), weight.size(0), x.size(2), x.size(3)}, x.options(), at::MemoryFormat::ChannelsLast);
  multiply_groups<T>(x, Factors<T>(weight, shape, /*back=*/false), shape.rows, y);
  return y;
}

template <class T>
PointwiseGradients backward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                            const GroupedShape& shape, bool wants_x) {
  const at::Tensor grad_x = wants_x ? at::empty_like(x) : at::Tensor();
  const Factors<T> factors(weight, shape, /*back=*/true);
  const Parts parts(shape.rows);
  const std::int64_t values = weight.numel(), group_values = shape.in * shape.out;
  const std::unique_ptr<float[]> sums(new float[parts.number * values]);
  at::parallel_for(0, parts.number, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint32_t> scratch(loops<T>().transposed_scratch(shape.in, shape.out));
    std::fill(sums.get() + begin * values, sums.get() + end * values, 0.0f);
    for (std::int64_t part = begin; part < end; ++part) {
      const std::int64_t last = std::min(parts.rows, (part + 1) * parts.size);
      for (std::int64_t row = part * parts.size; row < last; row += kRowBlock) {
        const std::int64_t count = std::min(kRowBlock, last - row);
        for (std::int64_t g = 0; g < shape.groups; ++g) {
          const BackwardGroup<T> group(grad, x, shape, g);
          if (wants_x) multiply_rows(group.grad(row), row, count, factors, g, grad_x);
          group.add_products(row, count, sums.get() + part * values + g * group_values, scratch.data());
        }
      }
    }
  });
  return {grad_x, added_up(sums.get(), parts.number, weight, shape)};
}

bool has_instructions(at::ScalarType type) {
  return type == at::kBFloat16 ? cpu_has_bf16() : type == at::kFloat && cpu_capability() != CpuCapability::kPlain;
}

}  // namespace

bool pointwise_takes(const at::Tensor& x, const at::Tensor& weight, std::int64_t groups) {
  const bool fits = x.is_cpu() && x.dim() == 4 && x.numel() > 0 && x.is_contiguous(at::MemoryFormat::ChannelsLast) &&
                    weight.scalar_type() == at::kFloat && weight.size(2) == 1 && weight.size(3) == 1;
  if (!fits || !has_instructions(x.scalar_type())) return false;
  return x.scalar_type() == at::kFloat || (weight.size(1) % 2 == 0 && weight.size(0) / groups % 2 == 0);
}

at::Tensor pointwise_forward(const at::Tensor& x, const at::Tensor& weight, std::int64_t groups) {
  TORCH_CHECK(pointwise_takes(x, weight, groups), "pointwise: x or weight is not made for it");
  const GroupedShape shape(x, weight, groups);
  return x.scalar_type() == at::kFloat ? forward<float>(x, weight, shape) : forward<Bf16Bits>(x, weight, shape);
}

PointwiseGradients pointwise_backward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                                      std::int64_t groups, bool wants_x) {
  TORCH_CHECK(pointwise_takes(x, weight, groups) && grad.scalar_type() == x.scalar_type() &&
                  grad.is_contiguous(at::MemoryFormat::ChannelsLast),
              "pointwise: x, weight or grad is not made for it");
  const GroupedShape shape(x, weight, groups);
  return x.scalar_type() == at::kFloat ? backward<float>(grad, x, weight, shape, wants_x)
                                       : backward<Bf16Bits>(grad, x, weight, shape, wants_x);
}

}  // namespace ekd

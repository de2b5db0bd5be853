#include "ekd/kernels/pointwise.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <vector>

#include "ekd/kernels/cpu_table.h"
#include "ekd/kernels/pointwise_loops.h"

namespace ekd {

#ifdef EKD_X86_KERNELS
namespace {

constexpr std::int64_t kRowGrain = 60;       // fewest rows for a thread
constexpr std::int64_t kRowBlock = 240;      // a multiple of every tile's height
constexpr std::int64_t kGradientRows = 512;  // at least, in a part of the weights' gradient
constexpr std::int64_t kGradientParts = 16;  // at most

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
      pack_panels(values, inner_, columns_, back ? shape.in : 1, back ? 1 : shape.in, panels_.data() + g * size());
    }
  }

  std::int64_t groups() const { return groups_; }
  PackedMatrix<T> of(std::int64_t group) const { return {inner_, columns_, panels_.data() + group * size()}; }

 private:
  std::int64_t size() const { return packed_size<T>(inner_, columns_); }

  std::int64_t groups_, inner_, columns_;
  std::vector<T> panels_;
};

// y's group g = x's group g · factors of g. Rows do not see each other, so threads may divide them anywhere.
template <class T>
void multiply_groups(const at::Tensor& x, const Factors<T>& factors, std::int64_t rows, const at::Tensor& y) {
  at::parallel_for(0, rows, kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t first = begin; first < end; first += kRowBlock) {
      const std::int64_t count = std::min(kRowBlock, end - first);
      for (std::int64_t g = 0; g < factors.groups(); ++g) {
        const PackedMatrix<T> factor = factors.of(g);
        auto a = group_of<T>(x, factor.inner, g);
        auto c = group_of_result<T>(y, factor.columns, g);
        a.data += first * a.stride;
        c.data += first * c.stride;
        multiply(a, count, factor, c);
      }
    }
  });
}

// Sums over the rows of each part, [parts][weights], each group's with its longer side along the vectors.
template <class T>
std::vector<float> weight_sums(const at::Tensor& grad, const at::Tensor& x, const GroupedShape& shape,
                               std::int64_t part_rows, std::int64_t parts) {
  const std::int64_t group_size = shape.in * shape.out, values = shape.groups * group_size;
  std::vector<float> sums(parts * values);
  at::parallel_for(0, parts, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint32_t> scratch(transposed_scratch(shape.in, shape.out));
    for (std::int64_t part = begin; part < end; ++part) {
      const std::int64_t first = part * part_rows, count = std::min(part_rows, shape.rows - first);
      for (std::int64_t g = 0; g < shape.groups; ++g) {
        auto a = group_of<T>(x, shape.in, g), b = group_of<T>(grad, shape.out, g);
        a.data += first * a.stride;
        b.data += first * b.stride;
        float* c = sums.data() + part * values + g * group_size;
        if (shape.turned())
          multiply_transposed(b, shape.out, a, shape.in, count, {c, shape.in}, scratch.data());
        else
          multiply_transposed(a, shape.in, b, shape.out, count, {c, shape.out}, scratch.data());
      }
    }
  });
  return sums;
}

// Sums over rows in parts of a size that depends on the shape only, added up in order.
template <class T>
at::Tensor weight_gradient(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                           const GroupedShape& shape) {
  const std::int64_t part_rows =
      std::max(kGradientRows, (shape.rows + kGradientParts - 1) / kGradientParts + 1) / 2 * 2;
  const std::int64_t parts = (shape.rows + part_rows - 1) / part_rows, values = weight.numel();
  const auto sums = weight_sums<T>(grad, x, shape, part_rows, parts);
  at::Tensor result = at::empty(weight.sizes(), weight.options());  // [out, in] for each group
  float* target = result.mutable_data_ptr<float>();
  const std::int64_t apart = shape.turned() ? 1 : shape.out;  // input channels
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
  PointwiseGradients gradients{{}, weight_gradient<T>(grad, x, weight, shape)};
  if (!wants_x) return gradients;
  gradients.x = at::empty_like(x);
  multiply_groups<T>(grad, Factors<T>(weight, shape, /*back=*/true), shape.rows, gradients.x);
  return gradients;
}

bool has_instructions(at::ScalarType type) {
  static const bool avx512_bf16 = cpu_capability() == CpuCapability::kAvx512 && __builtin_cpu_supports("avx512bf16");
  return type == at::kBFloat16 ? avx512_bf16 : type == at::kFloat && cpu_capability() == CpuCapability::kAvx2;
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
#else
bool pointwise_takes(const at::Tensor&, const at::Tensor&, std::int64_t) { return false; }

at::Tensor pointwise_forward(const at::Tensor&, const at::Tensor&, std::int64_t) {
  TORCH_CHECK(false, "pointwise: not built for this CPU");
}

PointwiseGradients pointwise_backward(const at::Tensor&, const at::Tensor&, const at::Tensor&, std::int64_t, bool) {
  TORCH_CHECK(false, "pointwise: not built for this CPU");
}
#endif

}  // namespace ekd

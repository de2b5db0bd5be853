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

  std::int64_t groups, rows, in, out;  // in and out: channels of a group
};

MatrixView<const Bf16Bits> group_of(const at::Tensor& x, std::int64_t channels, std::int64_t group) {
  return {static_cast<const Bf16Bits*>(x.const_data_ptr()) + group * channels, x.size(1)};
}

MatrixView<Bf16Bits> group_of_result(const at::Tensor& x, std::int64_t channels, std::int64_t group) {
  return {static_cast<Bf16Bits*>(x.mutable_data_ptr()) + group * channels, x.size(1)};
}

// y's group g = x's group g · factors[g]. Rows do not see each other, so threads may divide them anywhere.
void multiply_groups(const at::Tensor& x, const std::vector<PackedMatrix>& factors, std::int64_t rows,
                     const at::Tensor& y) {
  at::parallel_for(0, rows, kRowGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t first = begin; first < end; first += kRowBlock) {
      const std::int64_t count = std::min(kRowBlock, end - first);
      for (std::size_t g = 0; g < factors.size(); ++g) {
        auto a = group_of(x, factors[g].inner, static_cast<std::int64_t>(g));
        auto c = group_of_result(y, factors[g].columns, static_cast<std::int64_t>(g));
        a.data += first * a.stride;
        c.data += first * c.stride;
        multiply(a, count, factors[g], c);
      }
    }
  });
}

// The weights of each group as a factor [in, out], or [out, in] for the way back.
std::vector<PackedMatrix> factors(const at::Tensor& weight, const GroupedShape& shape, bool back) {
  const at::Tensor plain = weight.contiguous();
  std::vector<PackedMatrix> packed;
  for (std::int64_t g = 0; g < shape.groups; ++g) {
    const float* values = plain.const_data_ptr<float>() + g * shape.out * shape.in;
    packed.push_back(back ? pack_matrix(values, shape.out, shape.in, shape.in, 1)
                          : pack_matrix(values, shape.in, shape.out, 1, shape.in));
  }
  return packed;
}

// Sums over rows in parts of a size that depends on the shape only, added up in order.
at::Tensor weight_gradient(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                           const GroupedShape& shape) {
  const std::int64_t part_rows =
      std::max(kGradientRows, (shape.rows + kGradientParts - 1) / kGradientParts + 1) / 2 * 2;
  const std::int64_t parts = (shape.rows + part_rows - 1) / part_rows, values = weight.numel();
  // The longer side lies along the vectors.
  const bool turned = shape.in >= shape.out;
  std::vector<float> sums(parts * values);
  at::parallel_for(0, parts, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint32_t> scratch;
    for (std::int64_t part = begin; part < end; ++part) {
      const std::int64_t first = part * part_rows, count = std::min(part_rows, shape.rows - first);
      for (std::int64_t g = 0; g < shape.groups; ++g) {
        auto a = group_of(x, shape.in, g), b = group_of(grad, shape.out, g);
        a.data += first * a.stride;
        b.data += first * b.stride;
        float* c = sums.data() + part * values + g * shape.in * shape.out;
        if (turned)
          multiply_transposed(b, shape.out, a, shape.in, count, {c, shape.in}, scratch);
        else
          multiply_transposed(a, shape.in, b, shape.out, count, {c, shape.out}, scratch);
      }
    }
  });
  at::Tensor result = at::empty(weight.sizes(), weight.options());  // [out, in] for each group
  float* target = result.mutable_data_ptr<float>();
  at::parallel_for(0, shape.groups * shape.out, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t g = row / shape.out, o = row % shape.out;
      const std::int64_t offset = g * shape.in * shape.out + (turned ? o * shape.in : o);
      for (std::int64_t i = 0; i < shape.in; ++i) {
        float sum = 0;
        for (std::int64_t part = 0; part < parts; ++part)
          sum += sums[part * values + offset + i * (turned ? 1 : shape.out)];
        target[row * shape.in + i] = sum;
      }
    }
  });
  return result;
}

}  // namespace

bool pointwise_takes(const at::Tensor& x, const at::Tensor& weight, std::int64_t groups) {
  static const bool has_instructions =
      cpu_capability() == CpuCapability::kAvx512 && __builtin_cpu_supports("avx512bf16");
  return has_instructions && x.is_cpu() && x.scalar_type() == at::kBFloat16 && x.dim() == 4 && x.numel() > 0 &&
         x.is_contiguous(at::MemoryFormat::ChannelsLast) && weight.scalar_type() == at::kFloat && weight.size(2) == 1 &&
         weight.size(3) == 1 && weight.size(1) % 2 == 0 && weight.size(0) / groups % 2 == 0;
}

at::Tensor pointwise_forward(const at::Tensor& x, const at::Tensor& weight, std::int64_t groups) {
  TORCH_CHECK(pointwise_takes(x, weight, groups), "pointwise: x or weight is not made for it");
  const GroupedShape shape(x, weight, groups);
  const at::Tensor y =
      at::empty({x.size(0), weight.size(0), x.size(2), x.size(3)}, x.options(), at::MemoryFormat::ChannelsLast);
  multiply_groups(x, factors(weight, shape, /*back=*/false), shape.rows, y);
  return y;
}

PointwiseGradients pointwise_backward(const at::Tensor& grad, const at::Tensor& x, const at::Tensor& weight,
                                      std::int64_t groups, bool wants_x) {
  TORCH_CHECK(pointwise_takes(x, weight, groups) && grad.scalar_type() == x.scalar_type() &&
                  grad.is_contiguous(at::MemoryFormat::ChannelsLast),
              "pointwise: x, weight or grad is not made for it");
  const GroupedShape shape(x, weight, groups);
  PointwiseGradients gradients{{}, weight_gradient(grad, x, weight, shape)};
  if (wants_x) {
    gradients.x = at::empty_like(x);
    multiply_groups(grad, factors(weight, shape, /*back=*/true), shape.rows, gradients.x);
  }
  return gradients;
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

#include "ekd/kernels/row_losses.h"

#include <ATen/ops/empty.h>

#include "ekd/kernels/fused.h"
#include "kernels/fused/launch.h"

namespace ekd {
namespace {

// What a kernel writes for so many rows of logits.
struct MadeRows {
  MadeRows(const at::Tensor& logits, std::int64_t rows)
      : values(at::empty({rows}, logits.options())), gradient(at::empty(logits.sizes(), logits.options())) {}

  RowLoss total() const {
    const at::Tensor value = at::empty({}, values.options());
    launch_fused(
        RowTotalTask{values.const_data_ptr<float>(), value.mutable_data_ptr<float>(), static_cast<int>(values.size(0))},
        values.device());
    return {value, gradient};
  }

  at::Tensor values, gradient;
};

}  // namespace

bool row_losses_take(const at::Tensor& logits, const at::Tensor& targets) {
  const c10::Device device = logits.device();
  return has_fused_kernels(device) && !has_own_convolutions(device) && logits.numel() > 0 && targets.numel() > 0 &&
         logits.scalar_type() == at::kFloat && targets.scalar_type() == at::kFloat;
}

at::Tensor fused_softened(const at::Tensor& logits, double temperature, const at::Tensor& classes, double nothing) {
  const at::Tensor from = logits.contiguous(), to = at::empty(logits.sizes(), logits.options());
  const at::Tensor mask = classes.defined() ? classes.expand(logits.sizes()).contiguous() : at::Tensor();
  const std::int64_t row = logits.size(-1);
  launch_fused(SoftenTask{from.const_data_ptr<float>(), mask.defined() ? mask.const_data_ptr<bool>() : nullptr,
                          to.mutable_data_ptr<float>(), static_cast<float>(1 / temperature),
                          static_cast<float>(nothing), static_cast<int>(logits.numel() / row), static_cast<int>(row)},
               from.device());
  return to;
}

RowLoss fused_divergence(const at::Tensor& student, const Divergence& of) {
  const at::Tensor& target = of.target;
  TORCH_CHECK(target.dim() == 3 && student.dim() >= 2 && student.sizes() == target.sizes().slice(3 - student.dim()),
              "fused_divergence: targets ", target.sizes(), " for logits ", student.sizes());
  const std::int64_t targets = target.size(0), rows = target.size(1), classes = target.size(2);
  const at::Tensor logits = student.contiguous(), against = target.contiguous();
  const MadeRows made(logits, rows);
  DivergenceTask task{};
  task.student = logits.const_data_ptr<float>();
  task.student_target = student.dim() == 3 ? rows * classes : 0;
  task.target = against.const_data_ptr<float>();
  at::Tensor weights, mask;
  if (of.weights.defined()) {
    weights = of.weights.expand({targets, rows});
    task.weights = weights.const_data_ptr<float>();
    task.weight_target = weights.stride(0);
    task.weight_row = weights.stride(1);
  }
  if (of.classes.defined()) {
    mask = of.classes.expand(target.sizes());
    if (mask.stride(2) != 1) mask = mask.contiguous();
    task.mask = mask.const_data_ptr<bool>();
    task.mask_target = mask.stride(0);
    task.mask_row = mask.stride(1);
  }
  const double of_a_row = of.scale / static_cast<double>(rows);
  task.inverse_temperature = static_cast<float>(1 / of.temperature);
  task.nothing = kNoProbability;
  task.value_scale = static_cast<float>(of_a_row);
  task.gradient_scale = static_cast<float>(of_a_row / of.temperature);
  task.values = made.values.mutable_data_ptr<float>();
  task.gradient = made.gradient.mutable_data_ptr<float>();
  task.targets = static_cast<int>(targets);
  task.rows = static_cast<int>(rows);
  task.classes = static_cast<int>(classes);
  launch_fused(task, logits.device());
  return made.total();
}

RowLoss fused_cross_entropy(const at::Tensor& logits, const at::Tensor& targets, double smoothing) {
  TORCH_CHECK(logits.dim() == 2 && logits.sizes() == targets.sizes(), "fused_cross_entropy: targets ", targets.sizes(),
              " for logits ", logits.sizes());
  const at::Tensor from = logits.contiguous(), against = targets.contiguous();
  const std::int64_t rows = logits.size(0), classes = logits.size(1);
  const MadeRows made(from, rows);
  launch_fused(
      CrossEntropyTask{from.const_data_ptr<float>(), against.const_data_ptr<float>(), static_cast<float>(1 - smoothing),
                       static_cast<float>(smoothing / static_cast<double>(classes)),
                       static_cast<float>(1 / static_cast<double>(rows)), made.values.mutable_data_ptr<float>(),
                       made.gradient.mutable_data_ptr<float>(), static_cast<int>(rows), static_cast<int>(classes)},
      from.device());
  return made.total();
}

RowLoss fused_jensen_shannon(const at::Tensor& logits, std::int64_t views) {
  const at::Tensor from = logits.contiguous();
  const std::int64_t rows = logits.size(0) / views, classes = logits.size(1);
  const MadeRows made(from, rows);
  const at::Tensor means = at::empty({rows, classes}, from.options());
  launch_fused(
      JensenShannonTask{from.const_data_ptr<float>(), static_cast<float>(1 / static_cast<double>(logits.size(0))),
                        means.mutable_data_ptr<float>(), made.values.mutable_data_ptr<float>(),
                        made.gradient.mutable_data_ptr<float>(), static_cast<int>(views), static_cast<int>(rows),
                        static_cast<int>(classes)},
      from.device());
  return made.total();
}

}  // namespace ekd

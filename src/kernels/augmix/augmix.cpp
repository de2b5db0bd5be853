#include "ekd/kernels/augmix.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <vector>

#include "ekd/kernels/augmix_op.h"
#include "ekd/kernels/pixels.h"
#include "kernels/augmix/augmix_task.h"
#include "kernels/cuda_launch.h"
#include "kernels/views/image_checks.h"

namespace ekd {
namespace {

constexpr std::int64_t kAffineValues = 6;
static_assert(sizeof(Affine) == kAffineValues * sizeof(double), "maps are rows of a float64 tensor");

template <class T>
void augmix_on_cpu(const AugmixTask& task) {
  const NormaliseTable table = normalise_table(task.scale);
  const std::size_t values = static_cast<std::size_t>(task.shape.channels) * task.shape.pixels();
  at::parallel_for(0, task.batch, 1, [&](std::int64_t begin, std::int64_t end) {
    std::vector<std::uint8_t> buffers(kAugmixBuffers * values);
    std::vector<float> sums(values);
    AugmixScratch scratch;
    for (std::int64_t b = begin; b < end; ++b)
      augmix_image<T>(task, b, buffers.data(), sums.data(), scratch, table, SerialTeam{});
  });
}

void check_tables(const AugmixTables& tables, const at::Tensor& images) {
  const auto& operations = tables.operations;
  TORCH_CHECK(operations.dim() == 4 && operations.size(1) == kAugmixMixtures,
              "AugMix's operations are [N, 2, width, depth]");
  const std::int64_t chains = operations.size(2), depth = operations.size(3);
  check_table(tables.views, images, at::kInt, kViewWords);
  check_table(operations, images, at::kChar, kAugmixMixtures * chains * depth);
  check_table(tables.amounts, images, at::kDouble, kAugmixMixtures * chains * depth);
  check_table(tables.weights, images, at::kFloat, kAugmixMixtures * (chains + 1));
  check_table(tables.rotations, images, at::kDouble, kAffineValues);
  TORCH_CHECK(tables.rotations.size(0) == kRotations, "AugMix's rotations are [61, 6]");
  TORCH_CHECK(chains >= 1 && depth >= 1, "AugMix has at least one chain of at least one operation");
  for (const auto* table : {&tables.views, &tables.operations, &tables.amounts, &tables.weights})
    TORCH_CHECK(table->size(0) == images.size(0), "AugMix's tables have a row for each image");
}

AugmixTask make_task(const at::Tensor& images, const at::Tensor& rows, const AugmixTables& tables) {
  AugmixTask task{};
  task.images = images.const_data_ptr<std::uint8_t>();
  task.rows = rows.const_data_ptr<std::int64_t>();
  task.views = reinterpret_cast<const ViewParams*>(tables.views.const_data_ptr<std::int32_t>());
  task.operations = tables.operations.const_data_ptr<std::int8_t>();
  task.amounts = tables.amounts.const_data_ptr<double>();
  task.weights = tables.weights.const_data_ptr<float>();
  task.rotations = reinterpret_cast<const Affine*>(tables.rotations.const_data_ptr<double>());
  task.batch = rows.size(0);
  task.shape = planar_shape(images);
  task.chains = static_cast<int>(tables.operations.size(2));
  task.depth = static_cast<int>(tables.operations.size(3));
  return task;
}

}  // namespace

at::Tensor augmix_rotations(std::int64_t height, std::int64_t width) {
  const at::Tensor rotations = at::empty({kRotations, kAffineValues}, at::kDouble);
  auto* map = reinterpret_cast<Affine*>(rotations.mutable_data_ptr<double>());
  for (int degrees = -kMostRotation; degrees <= kMostRotation; ++degrees)
    map[degrees + kMostRotation] = rotation_matrix(degrees, static_cast<int>(width), static_cast<int>(height));
  return rotations;
}

at::Tensor augmix_views(const at::Tensor& images, const at::Tensor& rows, const AugmixTables& tables,
                        const Normalisation& normalisation, at::ScalarType dtype) {
  check_images(images);
  check_rows(rows, images, images.size(0));
  check_tables(tables, images);
  AugmixTask task = make_task(images, rows, tables);
  task.scale = channel_scale(normalisation);
  task.bf16 = dtype == at::kBFloat16;
  const at::Tensor out = empty_batch((1 + kAugmixMixtures) * task.batch, images, dtype);
  task.out = out.mutable_data_ptr();
  if (task.batch == 0) return out;
  if (images.is_cpu()) {
    const auto run = task.bf16 ? augmix_on_cpu<Bf16> : augmix_on_cpu<float>;
    run(task);
    return out;
  }
#ifdef EKD_WITH_CUDA
  const at::Tensor sums = empty_batch(task.batch, images, at::kFloat);
  task.sums = sums.mutable_data_ptr<float>();
  launch_on_cuda(images.device(), [&](CudaStream stream) { return launch_augmix(task, stream); });
#else
  launch_on_cuda(images.device(), {});
#endif
  return out;
}

}  // namespace ekd

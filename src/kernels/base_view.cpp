#include "ekd/kernels/base_view.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "ekd/kernels/base_view_task.h"
#include "ekd/kernels/cuda_launch.h"
#include "ekd/kernels/image_checks.h"

namespace ekd {
namespace {

constexpr std::int64_t kImagesPerChunk = 4;

template <int kChannels>
void base_view_image(const BaseViewTask& task, std::int64_t b, const NormaliseTable& table) {
  const int pixels = task.height * task.width;
  const std::uint8_t* image = task.images + (task.rows ? task.rows[b] : b) * kChannels * pixels;
  float* out = task.out + b * kChannels * pixels;
  if (!task.views) {
    for (int i = 0; i < pixels; ++i)
      for (int c = 0; c < kChannels; ++c) *out++ = table.value[c][image[c * pixels + i]];
    return;
  }
  const ViewParams view = task.views[task.view_rows[b]];
  for (int y = 0; y < task.height; ++y)
    for (int x = 0; x < task.width; ++x) {
      const int source = view_source(view, task.order, {x, y}, task.width, task.height);
      for (int c = 0; c < kChannels; ++c) *out++ = table.value[c][source < 0 ? 0 : image[c * pixels + source]];
    }
}

void base_view_on_cpu(const BaseViewTask& task) {
  const NormaliseTable table = normalise_table(task.scale);
  const auto image = task.channels == 1   ? base_view_image<1>
                     : task.channels == 2 ? base_view_image<2>
                                          : base_view_image<3>;
  at::parallel_for(0, task.batch, kImagesPerChunk, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) image(task, b, table);
  });
}

at::Tensor run(BaseViewTask task, const at::Tensor& images, const Normalisation& normalisation) {
  task.images = images.const_data_ptr<std::uint8_t>();
  task.channels = static_cast<int>(images.size(1));
  task.height = static_cast<int>(images.size(2));
  task.width = static_cast<int>(images.size(3));
  task.scale = channel_scale(normalisation);
  const at::Tensor out = at::empty({task.batch, task.channels, task.height, task.width},
                                   images.options().dtype(at::kFloat), at::MemoryFormat::ChannelsLast);
  task.out = out.mutable_data_ptr<float>();
  if (task.batch == 0) return out;
  if (images.is_cpu()) {
    base_view_on_cpu(task);
    return out;
  }
#ifdef EKD_WITH_CUDA
  launch_on_cuda(images.device(), [&](CudaStream stream) { return launch_base_view(task, stream); });
#else
  launch_on_cuda(images.device(), {});
#endif
  return out;
}

}  // namespace

at::Tensor base_view(const at::Tensor& images, const at::Tensor& rows, const at::Tensor& views,
                     const at::Tensor& view_rows, ViewOrder order, const Normalisation& normalisation) {
  check_images(images);
  check_rows(rows, images, images.size(0));
  check_table(views, images, at::kInt, kViewWords);
  check_rows(view_rows, images, views.size(0));
  TORCH_CHECK(rows.size(0) == view_rows.size(0), "one view for each image");
  BaseViewTask task{};
  task.rows = rows.const_data_ptr<std::int64_t>();
  task.views = reinterpret_cast<const ViewParams*>(views.const_data_ptr<std::int32_t>());
  task.view_rows = view_rows.const_data_ptr<std::int64_t>();
  task.batch = rows.size(0);
  task.order = order;
  return run(task, images, normalisation);
}

at::Tensor normalised_images(const at::Tensor& images, const Normalisation& normalisation) {
  check_images(images);
  BaseViewTask task{};
  task.batch = images.size(0);
  return run(task, images, normalisation);
}

}  // namespace ekd

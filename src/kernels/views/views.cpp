#include "ekd/kernels/views.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "ekd/core/types.h"
#include "ekd/kernels/pixels.h"
#include "kernels/cuda_launch.h"
#include "kernels/views/image_checks.h"
#include "kernels/views/view_task.h"

namespace ekd {

void check_images(const at::Tensor& images) {
  TORCH_CHECK(images.scalar_type() == at::kByte && images.dim() == 4 && images.is_contiguous(),
              "images are contiguous uint8 [N, C, H, W]");
  TORCH_CHECK(images.size(1) >= 1 && images.size(1) <= kMaxChannels, "images have 1 to 3 channels, not ",
              images.size(1));
  for (const int side : {2, 3})
    TORCH_CHECK(images.size(side) >= 1 && images.size(side) <= kLargestImageSide, "images have sides of 1 to ",
                kLargestImageSide, " pixels");
}

void check_rows(const at::Tensor& rows, const at::Tensor& images, std::int64_t count) {
  TORCH_CHECK(rows.scalar_type() == at::kLong && rows.dim() == 1 && rows.is_contiguous(), "rows are int64 [B]");
  TORCH_CHECK(rows.device() == images.device(), "rows lie on ", rows.device(), ", images on ", images.device());
  if (!rows.is_cpu()) return;
  const auto* row = rows.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < rows.numel(); ++i)
    TORCH_CHECK(row[i] >= 0 && row[i] < count, "row ", row[i], " of ", count);
}

void check_table(const at::Tensor& table, const at::Tensor& images, at::ScalarType dtype, std::int64_t row_values) {
  TORCH_CHECK(table.scalar_type() == dtype && table.is_contiguous() && table.dim() >= 1 &&
                  table.numel() == table.size(0) * row_values,
              "a drawn table is contiguous ", dtype, " with ", row_values, " values a row, not ", table.scalar_type(),
              " ", table.sizes());
  TORCH_CHECK(table.device() == images.device(), "a drawn table lies on ", table.device(), ", images on ",
              images.device());
}

PlanarShape planar_shape(const at::Tensor& images) {
  return {static_cast<int>(images.size(1)), static_cast<int>(images.size(2)), static_cast<int>(images.size(3))};
}

at::Tensor empty_batch(std::int64_t count, const at::Tensor& images, at::ScalarType dtype) {
  TORCH_CHECK(dtype == at::kFloat || dtype == at::kBFloat16, "normalised images are float32 or bfloat16, not ", dtype);
  return at::empty({count, images.size(1), images.size(2), images.size(3)}, images.options().dtype(dtype),
                   at::MemoryFormat::ChannelsLast);
}

ChannelScale channel_scale(const Normalisation& normalisation) {
  ChannelScale scale{};
  for (std::size_t c = 0; c < kMaxChannels; ++c) {
    scale.mean[c] = normalisation.mean[c];
    scale.std[c] = normalisation.std[c];
  }
  return scale;
}

NormaliseTable normalise_table(const ChannelScale& scale) {
  NormaliseTable table{};
  for (int c = 0; c < kMaxChannels; ++c)
    for (int value = 0; value < kByteValues; ++value)
      table.value[c][value] = normalise(static_cast<std::uint8_t>(value), scale.mean[c], scale.std[c]);
  return table;
}

namespace {

constexpr std::int64_t kImagesPerChunk = 4;

// Every byte's value as a float and as a T, so that no pixel is divided or rounded.
template <class T>
struct TableOfValues {
  explicit TableOfValues(const ChannelScale& scale) : floats(normalise_table(scale)) {
    for (int c = 0; c < kMaxChannels; ++c)
      for (int byte = 0; byte < kByteValues; ++byte) outputs[c][byte] = from_float<T>(floats.value[c][byte]);
  }
  float normalised(int c, std::uint8_t byte) const { return floats.value[c][byte]; }
  T rounded(int c, std::uint8_t byte) const { return outputs[c][byte]; }

  NormaliseTable floats;
  T outputs[kMaxChannels][kByteValues];
};

template <Combination kCombination, class T, int kChannels>
void view_image(const ViewTask& task, std::int64_t b, const TableOfValues<T>& values) {
  const PlanarShape shape{kChannels, task.shape.height, task.shape.width};
  const CombinedImage image = combined_image<kCombination>(task, b);
  T* out = static_cast<T*>(task.out) + b * kChannels * shape.pixels();
  for (int y = 0; y < shape.height; ++y)
    for (int x = 0; x < shape.width; ++x, out += kChannels)
      combined_pixel<kCombination>(image, shape, {x, y}, values, out);
}

template <Combination kCombination, class T>
void views_on_cpu(const ViewTask& task) {
  const TableOfValues<T> values(task.scale);
  const auto image = task.shape.channels == 1   ? view_image<kCombination, T, 1>
                     : task.shape.channels == 2 ? view_image<kCombination, T, 2>
                                                : view_image<kCombination, T, 3>;
  at::parallel_for(0, task.batch, kImagesPerChunk, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t b = begin; b < end; ++b) image(task, b, values);
  });
}

SeenRows seen_rows(const at::Tensor& images, const SeenImages& seen) {
  check_rows(seen.rows, images, images.size(0));
  check_table(seen.views, images, at::kInt, kViewWords);
  check_rows(seen.view_rows, images, seen.views.size(0));
  TORCH_CHECK(seen.rows.size(0) == seen.view_rows.size(0), "one view for each image");
  return {seen.rows.const_data_ptr<std::int64_t>(),
          reinterpret_cast<const ViewParams*>(seen.views.const_data_ptr<std::int32_t>()),
          seen.view_rows.const_data_ptr<std::int64_t>(), seen.order};
}

ViewTask make_task(const at::Tensor& images, const SeenImages& own, Combination combination) {
  check_images(images);
  ViewTask task{};
  task.own = seen_rows(images, own);
  task.batch = own.rows.size(0);
  task.combination = combination;
  return task;
}

void set_partners(ViewTask& task, const at::Tensor& images, const SeenImages& partners) {
  task.partner = seen_rows(images, partners);
  TORCH_CHECK(partners.rows.size(0) == task.batch, "one partner for each image");
}

void set_boxes(ViewTask& task, const at::Tensor& images, const ImageBoxes& boxes) {
  check_table(boxes.boxes, images, at::kInt, kBoxWords);
  task.boxes = reinterpret_cast<const Box*>(boxes.boxes.const_data_ptr<std::int32_t>());
  if (!boxes.rows.defined()) {
    TORCH_CHECK(boxes.boxes.size(0) >= 1, "a box for all images is one row");
    return;
  }
  check_rows(boxes.rows, images, boxes.boxes.size(0));
  TORCH_CHECK(boxes.rows.size(0) == task.batch, "one box for each image");
  task.box_rows = boxes.rows.const_data_ptr<std::int64_t>();
}

at::Tensor run(ViewTask task, const at::Tensor& images, const Normalisation& normalisation, at::ScalarType dtype) {
  task.images = images.const_data_ptr<std::uint8_t>();
  task.shape = planar_shape(images);
  task.scale = channel_scale(normalisation);
  task.bf16 = dtype == at::kBFloat16;
  const at::Tensor out = empty_batch(task.batch, images, dtype);
  task.out = out.mutable_data_ptr();
  if (task.batch == 0) return out;
  if (images.is_cpu()) {
    with_view_kind(task, [&](auto kind) {
      using Kind = decltype(kind);
      views_on_cpu<Kind::kCombination, typename Kind::Out>(task);
      return 0;
    });
    return out;
  }
#ifdef EKD_WITH_CUDA
  launch_on_cuda(images.device(), [&](CudaStream stream) { return launch_views(task, stream); });
#else
  launch_on_cuda(images.device(), {});
#endif
  return out;
}

}  // namespace

at::Tensor base_view(const at::Tensor& images, const SeenImages& own, const Normalisation& normalisation,
                     at::ScalarType dtype) {
  return run(make_task(images, own, Combination::kOwn), images, normalisation, dtype);
}

at::Tensor mixed_view(const at::Tensor& images, const SeenImages& own, const SeenImages& partners,
                      const at::Tensor& factor, const Normalisation& normalisation, at::ScalarType dtype) {
  ViewTask task = make_task(images, own, Combination::kMix);
  set_partners(task, images, partners);
  check_table(factor, images, at::kFloat, 1);
  TORCH_CHECK(factor.numel() == 1, "one factor mixes the whole batch");
  task.factor = factor.const_data_ptr<float>();
  return run(task, images, normalisation, dtype);
}

at::Tensor pasted_view(const at::Tensor& images, const SeenImages& own, const SeenImages& partners,
                       const ImageBoxes& boxes, const Normalisation& normalisation, at::ScalarType dtype) {
  ViewTask task = make_task(images, own, Combination::kPaste);
  set_partners(task, images, partners);
  set_boxes(task, images, boxes);
  return run(task, images, normalisation, dtype);
}

at::Tensor blanked_view(const at::Tensor& images, const SeenImages& own, const ImageBoxes& boxes,
                        const Normalisation& normalisation, at::ScalarType dtype) {
  ViewTask task = make_task(images, own, Combination::kBlank);
  set_boxes(task, images, boxes);
  return run(task, images, normalisation, dtype);
}

at::Tensor normalised_images(const at::Tensor& images, const Normalisation& normalisation, at::ScalarType dtype) {
  check_images(images);
  ViewTask task{};
  task.batch = images.size(0);
  return run(task, images, normalisation, dtype);
}

}  // namespace ekd

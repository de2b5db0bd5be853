#include "kernels/views/image_checks.h"

#include <ATen/ops/empty.h>

#include "ekd/core/types.h"
#include "ekd/kernels/normalise.h"

namespace ekd {

void check_images(const at::Tensor& images) {
  constexpr std::int64_t kLargestSide = 8192;
  TORCH_CHECK(images.scalar_type() == at::kByte && images.dim() == 4 && images.is_contiguous(),
              "images are contiguous uint8 [N, C, H, W]");
  TORCH_CHECK(images.size(1) >= 1 && images.size(1) <= kMaxChannels, "images have 1 to 3 channels, not ",
              images.size(1));
  for (const int side : {2, 3})
    TORCH_CHECK(images.size(side) >= 1 && images.size(side) <= kLargestSide, "images have sides of 1 to 8192 pixels");
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

}  // namespace ekd

// What the image kernels require of their tensors, how they take a normalisation, and what they return.
#pragma once

#include <ATen/core/Tensor.h>

#include "ekd/core/types.h"
#include "ekd/kernels/pixels.h"

namespace ekd {

// uint8 [N, C, H, W], contiguous, 1 to 3 channels, sides of 1 to 8192 pixels (16.16 fixed point has no more).
void check_images(const at::Tensor& images);

// int64 [B] on the device of `images`; on the CPU also that each lies in [0, count).
void check_rows(const at::Tensor& rows, const at::Tensor& images, std::int64_t count);

// A drawn table: contiguous, of this dtype and device, [N, …] with `row_values` values a row.
void check_table(const at::Tensor& table, const at::Tensor& images, at::ScalarType dtype, std::int64_t row_values);

PlanarShape planar_shape(const at::Tensor& images);

// Memory for `count` images of the stored ones' shape and device: [count, C, H, W] in channels_last layout, float32 or
// bfloat16.
at::Tensor empty_batch(std::int64_t count, const at::Tensor& images, at::ScalarType dtype);

// A data set's normalisation as the kernels take it.
ChannelScale channel_scale(const Normalisation& normalisation);
NormaliseTable normalise_table(const ChannelScale& scale);

}  // namespace ekd

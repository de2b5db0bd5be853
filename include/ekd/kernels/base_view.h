// Normalised float images from stored bytes: each a crop, flip and rotation in one gather, without intermediate images.
#pragma once

#include <ATen/core/Tensor.h>

#include "ekd/core/types.h"
#include "ekd/kernels/view_map.h"

namespace ekd {

// images uint8 [N, C, H, W], contiguous, C <= 3; rows int64 [B] of images; views int32 [M, 9] (ViewParams) and
// view_rows int64 [B] of views; all on one device. Returns float32 [B, C, H, W] in channels_last layout. Zeros come in
// before normalising. Rows out of range are checked on the CPU only.
at::Tensor base_view(const at::Tensor& images, const at::Tensor& rows, const at::Tensor& views,
                     const at::Tensor& view_rows, ViewOrder order, const Normalisation& normalisation);

// The images themselves, normalised: uint8 [B, C, H, W] → float32 [B, C, H, W] in channels_last layout.
at::Tensor normalised_images(const at::Tensor& images, const Normalisation& normalisation);

}  // namespace ekd

// Normalised images from stored bytes, in one pass: each a crop, flip and rotation, alone or combined with another such
// view. Partners are made from their bytes again, pixel by pixel; no image is stored in between.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ekd/core/types.h"
#include "ekd/kernels/pixels.h"

namespace ekd {

// Of images: 16.16 fixed point reaches no further.
inline constexpr std::int64_t kLargestImageSide = 8192;

// The i-th image of a batch is image rows[i] of the data set seen through views[view_rows[i]].
struct SeenImages {
  at::Tensor rows;       // int64 [B], of images
  at::Tensor views;      // int32 [M, 9] (ViewParams)
  at::Tensor view_rows;  // int64 [B], of views
  ViewOrder order = ViewOrder::kCropFlipRotate;
};

// The i-th image's box is boxes[rows[i]]; with `rows` undefined boxes[0] is everyone's.
struct ImageBoxes {
  at::Tensor boxes;  // int32 [K, 4] (Box)
  at::Tensor rows;   // int64 [B], of boxes; or undefined
};

// For all functions: images uint8 [N, C, H, W], contiguous, C <= 3; everything lies on one device. They return [B, C,
// H, W] in channels_last layout, `dtype` float32 or bfloat16, which is float32's value rounded once, ties to even.
// Zeros that come in from outside are black: normalised like a pixel. Rows out of range are checked on the CPU only.
// Nothing waits for the device.
at::Tensor base_view(const at::Tensor& images, const SeenImages& own, const Normalisation& normalisation,
                     at::ScalarType dtype = at::kFloat);

// factor · own + (1 - factor) · partner's, both normalised; factor float32 [1].
at::Tensor mixed_view(const at::Tensor& images, const SeenImages& own, const SeenImages& partners,
                      const at::Tensor& factor, const Normalisation& normalisation, at::ScalarType dtype = at::kFloat);

// The partner's pixels inside the box.
at::Tensor pasted_view(const at::Tensor& images, const SeenImages& own, const SeenImages& partners,
                       const ImageBoxes& boxes, const Normalisation& normalisation, at::ScalarType dtype = at::kFloat);

// 0 inside the box, after normalising.
at::Tensor blanked_view(const at::Tensor& images, const SeenImages& own, const ImageBoxes& boxes,
                        const Normalisation& normalisation, at::ScalarType dtype = at::kFloat);

// The images themselves, normalised: uint8 [B, C, H, W] → [B, C, H, W].
at::Tensor normalised_images(const at::Tensor& images, const Normalisation& normalisation,
                             at::ScalarType dtype = at::kFloat);

}  // namespace ekd

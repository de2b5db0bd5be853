// AugMix's three views of a batch in one kernel.
#pragma once

#include <ATen/core/Tensor.h>

#include "ekd/core/types.h"

namespace ekd {

// What was drawn for each image of a data set, and constants; all on one device.
struct AugmixTables {
  at::Tensor views;       // int32 [N, 9] (ViewParams)
  at::Tensor operations;  // int8 [N, 2, width, depth] (AugmixOp); the first 0 ends a chain
  at::Tensor amounts;     // float64 [N, 2, width, depth]; see AugmixOp
  at::Tensor weights;     // float32 [N, 2, width + 1]: the chains' weights, then the mixture's share m
  at::Tensor rotations;   // float64 [61, 6]: augmix_rotations of the images' size
};

// Affine maps of the rotations by -30, -29, …, 30 degrees, on the CPU.
at::Tensor augmix_rotations(std::int64_t height, std::int64_t width);

// images uint8 [N, C, H, W], contiguous, C <= 3; rows int64 [B] of images and of the tables. Returns [3 · B, C, H, W]
// in channels_last layout: clean views, first mixtures, second mixtures; `dtype` float32 or bfloat16, which is
// float32's value rounded once. Base order: rotate, flip, crop.
at::Tensor augmix_views(const at::Tensor& images, const at::Tensor& rows, const AugmixTables& tables,
                        const Normalisation& normalisation, at::ScalarType dtype = at::kFloat);

}  // namespace ekd

// Pictures of what a network sees.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>

#include "ekd/core/types.h"

namespace ekd {

// Normalised images float32 [N, 1 or 3, H, W] → uint8 RGB [rows, columns, 3] on the CPU: denormalised, clamped,
// rounded, each pixel `scale` wide, `columns` images a line, white gaps of `scale` pixels between and around them;
// missing places stay white.
at::Tensor preview_grid(const at::Tensor& images, const Normalisation& normalisation, std::int64_t columns,
                        std::int64_t scale);

// rgb: uint8 [H, W, 3]. Written atomically; throws IoError with the path and the reason.
void write_png(const std::filesystem::path& path, const at::Tensor& rgb);

}  // namespace ekd

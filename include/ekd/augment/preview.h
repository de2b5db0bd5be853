// Pictures of what a network sees.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <filesystem>

#include "ekd/core/field.h"
#include "ekd/core/types.h"

namespace ekd {

// The settings of `ekd preview` beside those of a training.
struct PictureConfig {
  std::string out = "preview.png";
  std::int64_t columns = 8, rows = 4;  // of images; rows for each view
  std::int64_t scale = 3;              // pixels of the PNG for a pixel of an image
  std::int64_t epoch = 0;
};

std::vector<Field> picture_fields(PictureConfig& picture);

// Normalised images float32 [N, 1 or 3, H, W] → uint8 RGB [rows, columns, 3] on the CPU: denormalised, clamped,
// rounded, each pixel `scale` wide, `columns` images a line, white gaps of `scale` pixels between and around them;
// missing places stay white.
at::Tensor preview_grid(const at::Tensor& images, const Normalisation& normalisation, std::int64_t columns,
                        std::int64_t scale);

// rgb: uint8 [H, W, 3]. Written atomically; throws IoError with the path and the reason.
void write_png(const std::filesystem::path& path, const at::Tensor& rgb);

}  // namespace ekd

// Pictures in files, as the bytes that networks are trained on.
#pragma once

#include <ATen/core/Tensor.h>

#include <filesystem>
#include <string>

namespace ekd {

// A PNG or JPEG file, told by its content, as uint8 [channels, height, width], contiguous, sides of 1 to 8192 pixels.
// One channel where the file is grey, else three: red, green, blue. Palettes are looked up, grey of less than 8 bits is
// spread to 0 … 255, 16 bits are rounded to 8; gamma, colour profiles and EXIF's orientation are left alone.
// Throws DataError that names the file: neither PNG nor JPEG, cut short or damaged, of transparent pixels, CMYK, or of
// more pixels than so many bytes can hold; IoError where the system refuses; MemoryError.
at::Tensor read_image_file(const std::filesystem::path& path);

// The name's ending with its dot, in small letters; empty where it has none.
std::string lower_extension(const std::filesystem::path& path);

// Whether the name ends in .png, .jpg or .jpeg, in letters of any case.
bool is_image_name(const std::filesystem::path& path);

}  // namespace ekd

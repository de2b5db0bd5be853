// The files that data sets come from.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

namespace ekd {

// The whole file. Throws DataError where there is none, with `hint` behind it, or it is no regular file (a pipe would
// wait for ever); IoError where the system refuses; MemoryError.
std::vector<std::byte> read_source_file(const std::filesystem::path& path, const std::string& hint = "");

}  // namespace ekd

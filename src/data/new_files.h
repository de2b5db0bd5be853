// Data files that must not replace what somebody has.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace ekd {

struct NewFile {
  std::filesystem::path path;
  std::vector<std::span<const std::byte>> pieces;  // one after another; not owned
};

// Writes the files, each whole or not at all, into `dir`, which is made where it is missing. Those that are there with
// this content are left alone; throws UsageError, before anything is written, where one has other content. Throws
// IoError.
void write_new_files(const std::filesystem::path& dir, const std::vector<NewFile>& files);

// "a\nb\n"
std::string lines_of(const std::vector<std::string>& names);

}  // namespace ekd

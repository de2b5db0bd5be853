// Files appear whole or not at all: written beside their place as `.NAME.tmp.PID`, synced, renamed, the folder synced.
#pragma once

#include <cstddef>
#include <filesystem>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ekd {

// Writes the pieces one after another. On failure throws IoError with the path and the bytes that were needed; the old
// file, if any, is untouched and no temporary is left. A link stays, and what it leads to is written; a pipe or a
// character device is written into; a block device is refused, and so is a pipe that nobody reads.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::span<const std::byte>> pieces);
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

// Whether there is such a file or folder. Throws IoError where that cannot be told, as without permission.
bool path_exists(const std::filesystem::path& path);
bool is_folder(const std::filesystem::path& path);  // or a link to one; throws likewise

// The whole file. Throws IoError where it cannot be read, MemoryError where it does not fit.
std::vector<std::byte> read_file(const std::filesystem::path& path);

std::string read_text(const std::filesystem::path& path);

// Makes the folder and its parents. Throws IoError.
void make_directories(const std::filesystem::path& path);

// Removes the file where there is one. Throws IoError.
void remove_file(const std::filesystem::path& path);

// Removes the temporaries in `folder` whose process is gone; call while holding the folder's lock. Those of the files
// `locked`, which only the holder of the lock writes, go whatever their process is: one that was killed exists for some
// time after its lock is free.
void remove_stale_temporaries(const std::filesystem::path& folder, const std::set<std::string>& locked = {});

}  // namespace ekd

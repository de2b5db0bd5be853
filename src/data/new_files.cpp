#include "data/new_files.h"

#include <algorithm>
#include <numeric>
#include <system_error>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"
#include "ekd/core/text.h"

namespace ekd {
namespace {

namespace fs = std::filesystem;

bool has_content(const fs::path& path, const NewFile& file) {
  const auto bytes = std::accumulate(file.pieces.begin(), file.pieces.end(), std::size_t{0},
                                     [](std::size_t sum, const auto& piece) { return sum + piece.size(); });
  std::error_code error;
  if (!fs::is_regular_file(path, error) || fs::file_size(path, error) != bytes) return false;
  const std::vector<std::byte> stored = read_file(path);
  auto at = stored.begin();
  return std::ranges::all_of(file.pieces, [&](const auto& piece) {
    const auto begin = at;
    at += static_cast<std::ptrdiff_t>(piece.size());
    return std::equal(begin, at, piece.begin(), piece.end());
  });
}

// True where the file is there with this content.
bool is_written(const NewFile& file) {
  std::error_code error;
  if (!fs::exists(file.path, error)) return false;
  if (has_content(file.path, file)) return true;
  throw UsageError(file.path.string() + ": is there already with other content; give a new folder");
}

}  // namespace

void write_new_files(const fs::path& dir, const std::vector<NewFile>& files) {
  std::vector<const NewFile*> missing;
  for (const NewFile& file : files)
    if (!is_written(file)) missing.push_back(&file);
  make_directories(dir);
  remove_stale_temporaries(dir);
  for (const NewFile* file : missing) write_file_atomically(file->path, file->pieces);
}

std::string lines_of(const std::vector<std::string>& names) { return join(names, "\n") + "\n"; }

}  // namespace ekd

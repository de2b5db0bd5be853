#include "data/source_file.h"

#include <new>
#include <stdexcept>
#include <system_error>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"

namespace ekd {

std::vector<std::byte> read_source_file(const std::filesystem::path& path, const std::string& hint) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (status.type() == std::filesystem::file_type::not_found) throw DataError(path.string() + ": no such file" + hint);
  if (error == std::errc::too_many_symbolic_link_levels)
    throw DataError(path.string() + ": is a link that leads back to itself");
  if (error) throw IoError(path.string() + ": cannot read: " + error.message());
  if (!std::filesystem::is_regular_file(status)) throw DataError(path.string() + ": is not a regular file" + hint);
  try {
    return read_file(path);
  } catch (const std::bad_alloc&) {
  } catch (const std::length_error&) {
  }
  throw MemoryError(path.string() + ": not enough memory for its " + std::to_string(std::filesystem::file_size(path)) +
                    " bytes");
}

}  // namespace ekd

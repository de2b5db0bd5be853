#include "ekd/core/atomic_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

#include "ekd/core/error.h"

namespace ekd {
namespace {

namespace fs = std::filesystem;

std::string reason() { return std::strerror(errno); }

// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int close() { return ::close(std::exchange(fd_, -1)); }

 private:
  int fd_;
};

bool write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return true;
}

fs::path folder_of(const fs::path& path) { return path.has_parent_path() ? path.parent_path() : fs::path("."); }

// Returns what failed, or nothing.
std::string write_and_rename(const fs::path& path, const fs::path& temporary,
                             std::span<const std::span<const std::byte>> pieces) {
  Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!file.valid()) return "cannot create: " + reason();
  for (const auto piece : pieces)
    if (!write_all(file.get(), piece)) return "cannot write: " + reason();
  if (::fsync(file.get()) != 0) return "cannot sync: " + reason();
  if (file.close() != 0) return "cannot close: " + reason();
  if (::rename(temporary.c_str(), path.c_str()) != 0) return "cannot rename: " + reason();
  Descriptor folder(::open(folder_of(path).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // Some file systems cannot sync a folder (EINVAL); the rename itself stands there.
  if (folder.valid() && ::fsync(folder.get()) != 0 && errno != EINVAL) return "cannot sync its folder: " + reason();
  return {};
}

std::string replace(const fs::path& path, std::span<const std::span<const std::byte>> pieces) {
  const fs::path temporary = folder_of(path) / ("." + path.filename().string() + ".tmp." + std::to_string(::getpid()));
  std::string failure = write_and_rename(path, temporary, pieces);
  if (!failure.empty()) ::unlink(temporary.c_str());
  return failure;
}

// What is no file cannot be replaced by one. Does not wait for a reader of a pipe.
std::string write_into(const fs::path& path, std::span<const std::span<const std::byte>> pieces) {
  Descriptor file(::open(path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (!file.valid()) return errno == ENXIO ? "cannot write: nobody reads from it" : "cannot write: " + reason();
  if (::fcntl(file.get(), F_SETFL, O_WRONLY) != 0) return "cannot write: " + reason();
  for (const auto piece : pieces)
    if (!write_all(file.get(), piece)) return "cannot write: " + reason();
  return file.close() == 0 ? "" : "cannot close: " + reason();
}

// The file at the end of a chain of links, which need not be there yet.
fs::path end_of_links(fs::path path) {
  std::error_code error;
  for (int links = 0; links < 40 && fs::is_symlink(path, error); ++links) {
    const fs::path target = fs::read_symlink(path, error);
    if (error) break;
    path = target.is_absolute() ? target : folder_of(path) / target;
  }
  return path;
}

std::string write_whole(const fs::path& path, std::span<const std::span<const std::byte>> pieces) {
  std::error_code error;
  const fs::file_type type = fs::status(path, error).type();
  if (type == fs::file_type::directory) return "cannot write: is a folder";
  if (type == fs::file_type::block) return "cannot write: is a block device";
  const bool is_file = type == fs::file_type::regular || type == fs::file_type::not_found || error;
  return is_file ? replace(end_of_links(path), pieces) : write_into(path, pieces);
}

fs::file_status status_of(const fs::path& path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::status_known(status)) throw IoError(path.string() + ": cannot look: " + error.message());
  return status;
}

}  // namespace

void write_file_atomically(const fs::path& path, std::span<const std::span<const std::byte>> pieces) {
  const std::string failure = write_whole(path, pieces);
  if (failure.empty()) return;
  std::size_t needed = 0;
  for (const auto piece : pieces) needed += piece.size();
  throw IoError(path.string() + ": " + failure + " (" + std::to_string(needed) + " bytes needed)");
}

void write_file_atomically(const fs::path& path, std::string_view text) {
  const std::span<const std::byte> piece = std::as_bytes(std::span(text));
  write_file_atomically(path, std::span(&piece, 1));
}

std::vector<std::byte> read_file(const fs::path& path) {
  Descriptor file(::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));  // does not wait for a pipe's writer
  if (!file.valid()) throw IoError(path.string() + ": cannot open: " + reason());
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) throw IoError(path.string() + ": cannot read: " + reason());
  if (S_ISDIR(status.st_mode)) throw IoError(path.string() + ": is a folder, not a file");
  if (!S_ISREG(status.st_mode)) throw IoError(path.string() + ": is not a regular file");
  std::vector<std::byte> bytes;
  try {
    bytes.resize(static_cast<std::size_t>(status.st_size));
  } catch (const std::exception&) {  // bad_alloc or length_error
    throw MemoryError(path.string() + ": not enough memory to read its " + std::to_string(status.st_size) + " bytes");
  }
  std::size_t filled = 0;
  while (filled < bytes.size()) {
    const ssize_t got = ::read(file.get(), bytes.data() + filled, bytes.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw IoError(path.string() + ": cannot read: " + reason());
    if (got == 0) break;  // it shrank while it was read
    filled += static_cast<std::size_t>(got);
  }
  bytes.resize(filled);
  return bytes;
}

bool path_exists(const fs::path& path) { return fs::exists(status_of(path)); }

bool is_folder(const fs::path& path) { return fs::is_directory(status_of(path)); }

std::string read_text(const fs::path& path) {
  const auto bytes = read_file(path);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void make_directories(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw IoError(path.string() + ": cannot create the folder: " + error.message());
}

void remove_file(const fs::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) throw IoError(path.string() + ": cannot remove: " + reason());
}

void remove_stale_temporaries(const fs::path& folder, const std::set<std::string>& locked) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    const auto at = name.rfind(".tmp.");
    if (!name.starts_with('.') || at == std::string::npos) continue;
    const char* begin = name.data() + at + 5;
    const char* end = name.data() + name.size();
    pid_t pid = 0;
    const auto parsed = std::from_chars(begin, end, pid);
    if (parsed.ec != std::errc{} || parsed.ptr != end || pid <= 0) continue;
    const bool ours = pid == ::getpid(), from_a_holder = locked.contains(name.substr(1, at - 1));
    const bool alive = ours || (!from_a_holder && (::kill(pid, 0) == 0 || errno == EPERM));
    if (!alive) fs::remove(entry.path(), error);
  }
}

}  // namespace ekd

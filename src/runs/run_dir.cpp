#include "ekd/runs/run_dir.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <set>
#include <string>
#include <utility>

#include "ekd/core/atomic_file.h"
#include "ekd/core/error.h"

namespace ekd {
namespace {

// "pid 123 on host", as the holder wrote it.
std::string read_holder(int fd) {
  char text[512] = {};
  const ssize_t size = pread(fd, text, sizeof text - 1, 0);
  return size > 0 ? std::string(text, static_cast<std::size_t>(size)) : "another process";
}

}  // namespace

std::string host_name() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

RunState run_state(const std::filesystem::path& folder) {
  if (path_exists(RunFiles(folder).result())) return RunState::kFinished;
  return path_exists(RunFiles(folder).config()) ? RunState::kUnfinished : RunState::kAbsent;
}

bool run_is_held(const std::filesystem::path& folder) {
  const int fd = open(RunFiles(folder).lock().c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return false;
  const bool held = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  close(fd);
  return held;
}

RunDir::RunDir(std::filesystem::path folder) : RunFiles(std::move(folder)) {
  make_directories(this->folder());
  const auto path = lock();
  lock_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (lock_ < 0) throw IoError(path.string() + ": cannot open: " + std::strerror(errno));
  if (flock(lock_, LOCK_EX | LOCK_NB) != 0) {
    const bool held = errno == EWOULDBLOCK;
    const std::string reason = held ? read_holder(lock_) : std::strerror(errno);
    close(lock_);
    if (held) throw LockedError(this->folder().string() + ": this run is held by " + reason);
    throw IoError(path.string() + ": cannot lock: " + reason);
  }
  const std::string holder = "pid " + std::to_string(getpid()) + " on " + host_name();
  if (ftruncate(lock_, 0) != 0 ||
      pwrite(lock_, holder.data(), holder.size(), 0) != static_cast<ssize_t>(holder.size())) {
    const std::string reason = std::strerror(errno);
    close(lock_);
    throw IoError(path.string() + ": cannot write: " + reason);
  }
  std::set<std::string> locked;
  for (const auto& file : {config(), record(), metrics(), checkpoint(), last(), best(), ema(), predictions(),
                           val_predictions(), ema_predictions(), ema_val_predictions(), result()})
    locked.insert(file.filename());
  remove_stale_temporaries(this->folder(), locked);
}

RunDir::~RunDir() {
  if (lock_ >= 0) close(lock_);  // closing releases the lock
}

RunDir::RunDir(RunDir&& other) noexcept : RunFiles(std::move(other)), lock_(std::exchange(other.lock_, -1)) {}

}  // namespace ekd

// What a user can cause, each with the exit code that `main` returns for it. Programmer errors (shapes) use
// TORCH_CHECK.
#pragma once

#include <stdexcept>
#include <string>

namespace ekd {

enum class ExitCode : int {
  kDone = 0,
  kInternal = 1,
  kUsage = 2,
  kData = 3,
  kMemory = 4,
  kNonFinite = 5,
  kLocked = 6,
  kBadWeights = 7,
  kIo = 8,
};

// `what()` is the one line a user reads; it names the file or option, what is wrong and what is accepted.
class Error : public std::runtime_error {
 public:
  Error(ExitCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

// A wrong option, key, value or combination; also a device that is not there.
struct UsageError : Error {
  explicit UsageError(const std::string& message) : Error(ExitCode::kUsage, message) {}
};
// Missing or damaged data.
struct DataError : Error {
  explicit DataError(const std::string& message) : Error(ExitCode::kData, message) {}
};
// Not enough memory on the device or the host.
struct MemoryError : Error {
  explicit MemoryError(const std::string& message) : Error(ExitCode::kMemory, message) {}
};
// A loss or a weight that is not finite.
struct NonFiniteError : Error {
  explicit NonFiniteError(const std::string& message) : Error(ExitCode::kNonFinite, message) {}
};
// Another process holds the run directory.
struct LockedError : Error {
  explicit LockedError(const std::string& message) : Error(ExitCode::kLocked, message) {}
};
// Weights, checkpoints or predictions that are damaged or do not fit.
struct WeightsError : Error {
  explicit WeightsError(const std::string& message) : Error(ExitCode::kBadWeights, message) {}
};
// The operating system refused to read or write.
struct IoError : Error {
  explicit IoError(const std::string& message) : Error(ExitCode::kIo, message) {}
};

}  // namespace ekd

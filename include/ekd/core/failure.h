// What goes wrong with one run among many, as a value: the others train on.
#pragma once

#include <c10/core/Device.h>

#include <exception>
#include <functional>
#include <optional>
#include <string>

#include "ekd/core/error.h"
#include "ekd/core/log.h"

namespace ekd {

struct Failure {
  ExitCode code = ExitCode::kInternal;
  std::string message;  // the one line that a user reads

  [[noreturn]] void raise() const { throw Error(code, message); }
};

// What was being done, and where.
struct WorkContext {
  std::string doing;  // "training shufflenet_v1 with batch size 64": for advice where memory runs out
  at::Device device = at::kCPU;
  LogFile* log = nullptr;  // what is logged goes to the console and, where there is one, to this file
};

// Does the work; what it throws becomes a failure.
std::optional<Failure> failure_in(const std::function<void()>& work, const WorkContext& context);

// The same for an error that was caught.
Failure failure_of(const std::exception& error, const WorkContext& context);

// The line for MemoryError where `error` means that memory ran out, in whatever form it is thrown; empty for other
// errors.
std::string memory_advice(const std::exception& error, const std::string& doing, at::Device device);

}  // namespace ekd

// Turns "out of memory", in whatever form it is thrown, into one line that says what to try.
#pragma once

#include <c10/core/Device.h>

#include <exception>
#include <string>

namespace ekd {

// The line for MemoryError where `error` means that memory ran out; empty for other errors.
// `doing` says what was running: "training shufflenet_v1 with batch size 64".
std::string memory_advice(const std::exception& error, const std::string& doing, at::Device device);

}  // namespace ekd

#include "ekd/core/failure.h"

#include <c10/util/Exception.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <new>

#include "ekd/core/device.h"

namespace ekd {
namespace {

bool is_out_of_memory(const std::exception& error) {
  return dynamic_cast<const std::bad_alloc*>(&error) != nullptr ||
         dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr;
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

// Errors of libraries carry traces and advice for programmers: the first line is for the user.
Failure internal_failure(const std::exception& error) {
  const auto* torch_error = dynamic_cast<const c10::Error*>(&error);
  if (torch_error != nullptr) spdlog::trace("{}", error.what());
  const std::string text = torch_error != nullptr ? torch_error->what_without_backtrace() : error.what();
  return {ExitCode::kInternal, "internal error: " + first_line(text)};
}

}  // namespace

Failure failure_of(const std::exception& error, const WorkContext& context) {
  if (const auto* known = dynamic_cast<const Error*>(&error)) return {known->code(), known->what()};
  const std::string advice = memory_advice(error, context.doing, context.device);
  return advice.empty() ? internal_failure(error) : Failure{ExitCode::kMemory, advice};
}

std::optional<Failure> failure_in(const std::function<void()>& work, const WorkContext& context) {
  const LogScope scope(context.log);
  try {
    work();
    return std::nullopt;
  } catch (const std::exception& error) {
    return failure_of(error, context);
  }
}

std::string memory_advice(const std::exception& error, const std::string& doing, at::Device device) {
  if (!is_out_of_memory(error)) return {};
  DeviceMemory memory;
  if (device.is_cuda()) {
    cuda_empty_cache();
    memory = cuda_memory(device.index());
  } else {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    memory = {static_cast<std::size_t>(sysconf(_SC_AVPHYS_PAGES)) * page,
              static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * page};
  }
  return "not enough memory on " + device.str() + " for " + doing + ": " + std::to_string(memory.free) + " of " +
         std::to_string(memory.total) +
         " bytes are free; try a smaller --batch-size, --precision bf16, or another --device";
}

}  // namespace ekd

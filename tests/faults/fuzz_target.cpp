// One mutated file, for libFuzzer or for mutator.cpp: whatever it holds is read or refused. EKD_FAULTS_READER names the
// reader. Ends the program where something else is thrown, or an allocation is too large for so small a file.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

#include "faults/json_change.h"
#include "faults/readers.h"

// Of both compilers' AddressSanitizer; only clang has a header for it.
extern "C" int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*, std::size_t),
                                                         void (*on_free)(const volatile void*));

namespace {

using namespace ekd::faults;

constexpr std::size_t kAlways = 64 << 10;  // messages, the table of settings

thread_local std::size_t t_limit = SIZE_MAX;

void on_malloc(const volatile void*, std::size_t size) {
  if (size <= t_limit) return;
  std::fprintf(stderr, "an allocation of %zu bytes where %zu are allowed\n", size, t_limit);
  std::abort();
}

void on_free(const volatile void*) {}

const Reader& chosen() {
  static const Reader& reader = []() -> const Reader& {
    const char* name = std::getenv("EKD_FAULTS_READER");
    __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
    return reader_of(name != nullptr ? name : "");
  }();
  return reader;
}

}  // namespace

// libFuzzer's, or mutator.cpp's: changes bytes.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

// Every other change is of a value.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size, std::size_t max_size,
                                               unsigned seed) {
  std::mt19937_64 random(seed);
  if (seed % 2 == 0) return LLVMFuzzerMutate(data, size, max_size);
  const std::string file = with_json_changed({reinterpret_cast<const char*>(data), size}, chosen().name, random);
  const std::size_t new_size = std::min(file.size(), max_size);
  std::copy_n(file.begin(), new_size, data);
  return new_size;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Reader& reader = chosen();
  // What is made once is made before: the folder, LibTorch's threads.
  static const bool warm = answer_to(reader, {}) == Answer::kRead || at::get_num_threads() > 0;
  (void)warm;
  t_limit = reader.allocation * size + kAlways;
  answer_to(reader, std::as_bytes(std::span(data, size)));
  t_limit = SIZE_MAX;
  return 0;
}

// Stands in for LibTorch's header of this name where ekd is built with ThreadSanitizer: at::parallel_for on
// std::thread. OpenMP's library is not built with it, so that its barriers are unseen and every loop would look like a
// race.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <thread>
#include <vector>

#define INTRA_OP_PARALLEL

namespace at::internal {

template <typename F>
void invoke_parallel(int64_t begin, int64_t end, int64_t grain_size, const F& f) {
  int64_t count = get_num_threads();
  if (grain_size > 0) count = std::min(count, divup(end - begin, grain_size));
  const int64_t chunk = divup(end - begin, count);
  std::vector<std::exception_ptr> errors(static_cast<std::size_t>(count));
  const auto work = [&](int64_t id) {
    const int64_t from = begin + id * chunk;
    if (from >= end) return;
    try {
      const ThreadIdGuard guard(static_cast<int>(id));
      f(from, std::min(end, from + chunk));
    } catch (...) {
      errors[static_cast<std::size_t>(id)] = std::current_exception();
    }
  };
  std::vector<std::thread> threads;
  for (int64_t id = 1; id < count; ++id) threads.emplace_back(work, id);
  work(0);
  for (auto& thread : threads) thread.join();
  for (const auto& error : errors)
    if (error) std::rethrow_exception(error);
}

}  // namespace at::internal

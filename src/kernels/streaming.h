// Results that are written past the caches.
#pragma once

#include <cstdint>

namespace ekd {

// Of this size on: no core's own cache holds a tensor until the next operation reads it, and a line that is written
// whole past the caches need not be read first.
constexpr std::int64_t kStreamedBytes = 1 << 20;

}  // namespace ekd

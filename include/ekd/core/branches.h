// Pieces of work that do not wait for each other.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <vector>

namespace ekd {

// On a CPU one after another. On CUDA all at once, after what the current stream was given: the first on that stream,
// the others on streams beside it, which it then waits for; the host does not. In a recording they are branches of the
// graph.
//
// What a work makes is memory of its stream. When it is freed, only later works of the same place get it, and these
// wait for the current stream: what reads a work's results after this call is safe from them, on the current stream or
// on one that it waits for before the next call. What works read, and none of them makes, must stay until they are
// done.
//
// Where a work throws, those after it are not begun, and the streams are joined all the same.
void run_branches(c10::Device device, const std::vector<std::function<void()>>& works);

}  // namespace ekd

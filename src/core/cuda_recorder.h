// Records work on a CUDA device as CUDA graphs.
#pragma once

#include <c10/core/Device.h>

#include <mutex>

#include "ekd/core/replay_cache.h"

namespace ekd {

// Records on the current stream, which is not the default one, and replays on the stream that is current then. All
// recordings of one recorder share their memory: they run one after another, and what one leaves in memory of its own
// is lost when another is replayed, tensors that still are held excepted. Nothing in a build without CUDA.
Recorder cuda_recorder(at::Device device);

// Held while something is recorded, by one thread of the process at a time: LibTorch's allocator gives no cached memory
// back, and asserts that nobody asks for it, while anyone records. So held where memory is given back as well.
std::mutex& recording_mutex();

}  // namespace ekd

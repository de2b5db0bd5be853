// Records work on a CUDA device as CUDA graphs.
#pragma once

#include <c10/core/Device.h>

#include "ekd/train/replay_cache.h"

namespace ekd {

// Records on the current stream, which is not the default one, and replays on the stream that is current then. All
// recordings of one recorder share their memory: they run one after another, and what one leaves in memory of its own
// is lost when another is replayed, tensors that still are held excepted. Nothing in a build without CUDA.
Recorder cuda_recorder(at::Device device);

}  // namespace ekd

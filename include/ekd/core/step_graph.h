// Steps on batches: on a CPU plain calls; on CUDA on a stream of their own, beside other learners' steps, and from the
// fourth batch of a kind on as one CUDA graph, which the host launches at once instead of kernel by kernel.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <memory>
#include <string>

#include "ekd/core/cuda_streams.h"
#include "ekd/core/replay_cache.h"
#include "ekd/core/types.h"

namespace ekd {

struct Step {
  // Puts what changes from step to step, and the host alone knows, into tensors on the device.
  std::function<void()> prepare;
  // All else. With one key it asks the same of the device each time, on the same batch's memory, and has no effect on
  // the host that a replay would miss. It may be begun anew: see ReplayCache.
  std::function<void(const Batch&)> work;
};

class StepGraph {
 public:
  // `graph` false: no graphs. `name` says in the log whose steps they are.
  StepGraph(at::Device device, bool graph, const std::string& name, Comes comes = Comes::kLater);

  // Waits for the steps: what they work on may be gone afterwards.
  ~StepGraph();
  StepGraph(const StepGraph&) = delete;
  StepGraph& operator=(const StepGraph&) = delete;

  // Does the step after all that the caller's stream was given, on a copy of the batch: the caller may let go of it and
  // its stream goes on as soon as the copy is made. `key` tells apart what differs in shapes or in work.
  void run(const Batch& batch, const ReplayCache::Key& key, const Step& step);

  // Makes the caller's stream wait for the steps; the host does not.
  void join();

  // Makes the host wait for the steps.
  void wait();

 private:
  struct Cuda;
  std::unique_ptr<Cuda> cuda_;  // null on a CPU
};

}  // namespace ekd

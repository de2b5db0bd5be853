#include "ekd/core/step_graph.h"

#include <map>

#ifdef EKD_WITH_CUDA
#include <c10/cuda/CUDAGuard.h>

#include <exception>

#include "core/cuda_recorder.h"
#include "ekd/core/cuda_streams.h"
#endif

namespace ekd {

#ifdef EKD_WITH_CUDA
struct StepGraph::Cuda {
  Cuda(at::Device on, bool graph, const std::string& name, Comes comes)
      : own(on.index(), comes), cache(graph ? cuda_recorder(on) : Recorder(), name) {}

  c10::cuda::CUDAStream callers() const { return c10::cuda::getCurrentCUDAStream(own.get().device_index()); }

  OwnStream own;
  std::map<ReplayCache::Key, Batch> batches;  // the memory that steps read
  ReplayCache cache;
};
#else
struct StepGraph::Cuda {};
#endif

StepGraph::StepGraph(at::Device device, bool graph, const std::string& name, Comes comes) {
#ifdef EKD_WITH_CUDA
  if (device.is_cuda()) cuda_ = std::make_unique<Cuda>(device, graph, name, comes);
#else
  static_cast<void>(comes);
  static_cast<void>(device);
  static_cast<void>(graph);
  static_cast<void>(name);
#endif
}

StepGraph::~StepGraph() {
  try {
    wait();
  } catch (...) {  // a device in error has stopped as well
  }
}

void StepGraph::run(const Batch& batch, const ReplayCache::Key& key, const Step& step) {
#ifdef EKD_WITH_CUDA
  if (cuda_ != nullptr) {
    const auto callers = cuda_->callers();
    order(callers, cuda_->own.get());
    const c10::cuda::CUDAStreamGuard on_own_stream(cuda_->own.get());
    Batch& own = cuda_->batches[key];
    copy_in_place(own, batch);
    order(cuda_->own.get(), callers);
    step.prepare();
    return cuda_->cache.run(key, [&] { step.work(own); });
  }
#endif
  static_cast<void>(key);
  step.prepare();
  step.work(batch);
}

void StepGraph::join() {
#ifdef EKD_WITH_CUDA
  if (cuda_ != nullptr) order(cuda_->own.get(), cuda_->callers());
#endif
}

void StepGraph::wait() {
#ifdef EKD_WITH_CUDA
  if (cuda_ != nullptr) cuda_->own.get().synchronize();
#endif
}

}  // namespace ekd

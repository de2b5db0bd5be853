#include "ekd/train/step_graph.h"

#include <map>

#ifdef EKD_WITH_CUDA
#include <c10/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <exception>

#include "train/cuda_recorder.h"
#endif

namespace ekd {

#ifdef EKD_WITH_CUDA
struct StepGraph::Cuda {
  Cuda(at::Device on, bool graph, const std::string& name)
      : device(on),
        stream(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, on.index())),
        cache(graph ? cuda_recorder(on) : Recorder(), name) {}

  c10::cuda::CUDAStream callers() const { return c10::cuda::getCurrentCUDAStream(device.index()); }

  // `later` goes on when `earlier` has done what it was given up to now.
  void order(const c10::cuda::CUDAStream& earlier, const c10::cuda::CUDAStream& later) {
    event.record(earlier);
    event.block(later);
  }

  at::Device device;
  c10::cuda::CUDAStream stream;
  c10::cuda::CUDAEvent event;
  std::map<ReplayCache::Key, Batch> batches;  // the memory that steps read
  ReplayCache cache;
};
#else
struct StepGraph::Cuda {};
#endif

StepGraph::StepGraph(at::Device device, bool graph, const std::string& name) {
#ifdef EKD_WITH_CUDA
  if (device.is_cuda()) cuda_ = std::make_unique<Cuda>(device, graph, name);
#else
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
    cuda_->order(callers, cuda_->stream);
    const c10::cuda::CUDAStreamGuard on_own_stream(cuda_->stream);
    Batch& own = cuda_->batches[key];
    copy_in_place(own, batch);
    cuda_->order(cuda_->stream, callers);
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
  if (cuda_ != nullptr) cuda_->order(cuda_->stream, cuda_->callers());
#endif
}

void StepGraph::wait() {
#ifdef EKD_WITH_CUDA
  if (cuda_ != nullptr) cuda_->stream.synchronize();
#endif
}

}  // namespace ekd

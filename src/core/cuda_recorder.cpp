#include "core/cuda_recorder.h"

#ifdef EKD_WITH_CUDA
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime_api.h>

#include <exception>
#endif

namespace ekd {

#ifdef EKD_WITH_CUDA
namespace {

class CudaGraphRecording final : public Recording {
 public:
  explicit CudaGraphRecording(std::unique_ptr<at::cuda::CUDAGraph> graph) : graph_(std::move(graph)) {}
  void replay() override { graph_->replay(); }

 private:
  std::unique_ptr<at::cuda::CUDAGraph> graph_;
};

template <class Call>
bool succeeds(Call call) {
  try {
    call();
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

// Takes stream and allocators out of a recording that has failed. LibTorch's own end of a recording gives up at its
// first error, and the allocators would go on asking the graph, by its address, whose memory they hand out.
void abandon(at::cuda::CUDAGraph& graph, at::cuda::MempoolId_t pool, at::Device device) {
  namespace allocator = c10::cuda::CUDACachingAllocator;
  succeeds([&] { graph.capture_end(); });
  // Where the pool still is being recorded to, the graph has not come to the point from which it releases it itself.
  if (succeeds([&] { allocator::endAllocateToPool(device.index(), pool); }))
    succeeds([&] { allocator::releasePool(device.index(), pool); });
  auto* host = at::getHostAllocator(at::kCUDA);
  if (succeeds([&] { host->end_allocate_to_pool(pool); })) succeeds([&] { host->release_pool(pool); });
  cudaGetLastError();  // not left behind for the next launch to find
  succeeds([] { allocator::emptyCache(); });
}

std::unique_ptr<Recording> record(const std::function<void()>& work, at::cuda::MempoolId_t pool, at::Device device) {
  const std::lock_guard alone(recording_mutex());
  // A recording cannot make room by giving cached blocks back, and the plain runs' blocks are of no more use.
  c10::cuda::CUDACachingAllocator::emptyCache();
  auto graph = std::make_unique<at::cuda::CUDAGraph>();
  try {
    // Of this thread alone: autograd's threads, whose launches on this stream are recorded too, may ask CUDA questions
    // that are refused to the thread that records, and so may other trainings' threads.
    graph->capture_begin(pool, cudaStreamCaptureModeThreadLocal);
    work();
    graph->capture_end();
  } catch (...) {
    abandon(*graph, pool, device);
    throw;
  }
  return std::make_unique<CudaGraphRecording>(std::move(graph));
}

}  // namespace

std::mutex& recording_mutex() {
  static std::mutex mutex;
  return mutex;
}

Recorder cuda_recorder(at::Device device) {
  return [pool = at::cuda::graph_pool_handle(), device](const std::function<void()>& work) {
    return record(work, pool, device);
  };
}
#else
Recorder cuda_recorder(at::Device) { return {}; }
#endif

}  // namespace ekd

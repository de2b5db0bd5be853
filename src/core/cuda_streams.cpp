#include "ekd/core/cuda_streams.h"

#ifdef EKD_WITH_CUDA
#include <c10/cuda/CUDAEvent.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>

#include <map>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>
#endif

namespace ekd {

#ifdef EKD_WITH_CUDA
namespace {

// Streams are never destroyed: LibTorch's allocator and libraries keep memory by the stream it was first used on.
struct Streams {
  std::mutex mutex;
  std::map<std::pair<c10::DeviceIndex, Comes>, std::vector<c10::cuda::CUDAStream>> idle;
  std::map<std::tuple<c10::DeviceIndex, c10::StreamId, std::size_t>, c10::cuda::CUDAStream> beside;
};

Streams& streams() {
  static auto* all = new Streams;  // outlives every holder
  return *all;
}

// Does not wait for the default stream, nor that for it.
c10::cuda::CUDAStream new_stream(c10::DeviceIndex device, Comes comes) {
  const c10::cuda::CUDAGuard on_device(device);
  int least = 0, greatest = 0;
  C10_CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
  cudaStream_t stream = nullptr;
  C10_CUDA_CHECK(
      cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, comes == Comes::kFirst ? greatest : least));
  return c10::cuda::getStreamFromExternal(stream, device);
}

c10::cuda::CUDAStream taken(c10::DeviceIndex device, Comes comes) {
  const std::lock_guard lock(streams().mutex);
  auto& idle = streams().idle[{device, comes}];
  if (idle.empty()) return new_stream(device, comes);
  const c10::cuda::CUDAStream stream = idle.back();
  idle.pop_back();
  return stream;
}

}  // namespace

OwnStream::OwnStream(c10::DeviceIndex device, Comes comes) : comes_(comes), stream_(taken(device, comes)) {}

OwnStream::~OwnStream() {
  const std::lock_guard lock(streams().mutex);
  streams().idle[{stream_.device_index(), comes_}].push_back(stream_);
}

c10::cuda::CUDAStream stream_beside(const c10::cuda::CUDAStream& stream, std::size_t index) {
  const std::lock_guard lock(streams().mutex);
  const std::tuple key{stream.device_index(), stream.id(), index};
  const auto found = streams().beside.find(key);
  if (found != streams().beside.end()) return found->second;
  return streams().beside.emplace(key, new_stream(stream.device_index(), Comes::kLater)).first->second;
}

void order(const c10::cuda::CUDAStream& earlier, const c10::cuda::CUDAStream& later) {
  c10::cuda::CUDAEvent event;
  event.record(earlier);
  event.block(later);
}

struct OnOwnStream::Cuda {
  explicit Cuda(c10::Device device) : own(device.index()), guard(own.get()) {}
  OwnStream own;
  c10::cuda::CUDAStreamGuard guard;
};
#else
struct OnOwnStream::Cuda {};
#endif

OnOwnStream::OnOwnStream(c10::Device device) {
#ifdef EKD_WITH_CUDA
  if (device.is_cuda()) cuda_ = std::make_unique<Cuda>(device);
#else
  static_cast<void>(device);
#endif
}

OnOwnStream::~OnOwnStream() = default;

}  // namespace ekd

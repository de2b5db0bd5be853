#include "ekd/core/own_stream.h"

#ifdef EKD_WITH_CUDA
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGraphsC10Utils.h>
#include <c10/cuda/CUDAGuard.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <utility>
#include <vector>
#endif

namespace ekd {

#ifdef EKD_WITH_CUDA
namespace {

// Streams that no one holds. They stay: LibTorch keeps freed memory by the stream that it was used on. One that was
// joined to a recording belongs to it until the recording ends, whoever holds it.
class FreeStreams {
 public:
  c10::cuda::CUDAStream take(c10::DeviceIndex device, Comes comes) {
    const std::lock_guard lock(mutex_);
    auto& streams = of_kind_[{device, comes}];
    const auto found = std::ranges::find_if_not(streams, is_recorded);
    if (found == streams.end()) return make(device, comes);
    const auto stream = *found;
    streams.erase(found);
    return stream;
  }

  void give_back(const c10::cuda::CUDAStream& stream, Comes comes) {
    const std::lock_guard lock(mutex_);
    of_kind_[{stream.device_index(), comes}].push_back(stream);
  }

 private:
  static bool is_recorded(const c10::cuda::CUDAStream& stream) {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    return cudaStreamIsCapturing(stream.stream(), &status) != cudaSuccess || status != cudaStreamCaptureStatusNone;
  }

  static c10::cuda::CUDAStream make(c10::DeviceIndex device, Comes comes) {
    const c10::cuda::CUDAGuard guard(device);
    // A pass may ask for one while its step is recorded, of which this is no part.
    const c10::cuda::CUDAStreamCaptureModeGuard relaxed(cudaStreamCaptureModeRelaxed);
    int least = 0, greatest = 0;
    C10_CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&least, &greatest));
    cudaStream_t stream = nullptr;
    C10_CUDA_CHECK(
        cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, comes == Comes::kFirst ? greatest : least));
    return c10::cuda::getStreamFromExternal(stream, device);
  }

  std::mutex mutex_;
  std::map<std::pair<c10::DeviceIndex, Comes>, std::vector<c10::cuda::CUDAStream>> of_kind_;
};

FreeStreams& free_streams() {
  static auto* const streams = new FreeStreams;  // outlives what gives streams back at the program's end
  return *streams;
}

}  // namespace

OwnStream::OwnStream(c10::Device device, Comes comes)
    : comes_(comes), stream_(free_streams().take(device.has_index() ? device.index() : c10::DeviceIndex{0}, comes)) {}
OwnStream::~OwnStream() { free_streams().give_back(stream_, comes_); }

struct OnOwnStream::Cuda {
  explicit Cuda(c10::Device device) : own(device), guard(own.get()) {}
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

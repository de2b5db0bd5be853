// Streams of CUDA devices that belong to one holder at a time. LibTorch deals out 32 in turn, so that two trainings of
// one process would meet on some: each would wait for the other, and what one launches while the other records its step
// would become a part of that recording.
#pragma once

#include <c10/core/Device.h>

#include <memory>

#ifdef EKD_WITH_CUDA
#include <c10/cuda/CUDAStream.h>
#endif

namespace ekd {

// Where kernels of several streams could start, those of a stream that comes first do.
enum class Comes { kFirst, kLater };

#ifdef EKD_WITH_CUDA
class OwnStream {
 public:
  // Throws c10::Error where CUDA refuses.
  explicit OwnStream(c10::Device device, Comes comes = Comes::kLater);
  ~OwnStream();
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;

  const c10::cuda::CUDAStream& get() const { return stream_; }

 private:
  Comes comes_;
  c10::cuda::CUDAStream stream_;
};
#endif

// While it lives, this thread's work on a CUDA device goes to a stream of its own. Nothing on a CPU.
class OnOwnStream {
 public:
  explicit OnOwnStream(c10::Device device);
  ~OnOwnStream();
  OnOwnStream(const OnOwnStream&) = delete;
  OnOwnStream& operator=(const OnOwnStream&) = delete;

 private:
  struct Cuda;
  std::unique_ptr<Cuda> cuda_;
};

}  // namespace ekd

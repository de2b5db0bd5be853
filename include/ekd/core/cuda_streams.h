// CUDA streams that one holder has at a time. LibTorch's pool hands out the same 32 again and again, to all threads:
// what one thread launches on a stream while another records on it would become part of the other's graph.
#pragma once

#include <c10/core/Device.h>

#include <memory>

#ifdef EKD_WITH_CUDA
#include <c10/cuda/CUDAStream.h>
#endif

namespace ekd {

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

// Where kernels of several streams could start, those of a stream that comes first do.
enum class Comes { kFirst, kLater };

#ifdef EKD_WITH_CUDA
// A stream for as long as this lives. Its last holder has waited for what it launched, or stops at a device in error.
class OwnStream {
 public:
  explicit OwnStream(c10::DeviceIndex device, Comes comes = Comes::kLater);
  ~OwnStream();
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;

  const c10::cuda::CUDAStream& get() const { return stream_; }

 private:
  Comes comes_;
  c10::cuda::CUDAStream stream_;
};

// The index-th of the streams beside `stream`, the same at every call, and no other stream's: whoever holds `stream`
// has those beside it as well. So a stream that a recording has forked to belongs to it until the recording has ended.
c10::cuda::CUDAStream stream_beside(const c10::cuda::CUDAStream& stream, std::size_t index);

// `later` goes on when `earlier` has done what it was given up to now.
void order(const c10::cuda::CUDAStream& earlier, const c10::cuda::CUDAStream& later);
#endif

}  // namespace ekd

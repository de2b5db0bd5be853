// Work beside the current stream of a CUDA device, for kernels that leave much of it idle and nobody waits for. On a
// CPU it is done at once.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

namespace ekd {

class SideStream {
 public:
  explicit SideStream(c10::Device device);
  ~SideStream();
  SideStream(const SideStream&) = delete;
  SideStream& operator=(const SideStream&) = delete;

  // Does `work`, which allocates nothing, after all that the current stream was given. It reads `tensors`, whose memory
  // is kept until the streams are joined.
  void run(const std::vector<at::Tensor>& tensors, const std::function<void()>& work);

  // The current stream goes on after the side's work.
  void join();

 private:
  struct Cuda;
  std::unique_ptr<Cuda> cuda_;  // null on a CPU
  std::vector<at::Tensor> held_;
};

}  // namespace ekd

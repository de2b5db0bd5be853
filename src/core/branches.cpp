#include "ekd/core/branches.h"

#ifdef EKD_WITH_CUDA
#include <c10/cuda/CUDAGuard.h>

#include <exception>

#include "ekd/core/cuda_streams.h"
#endif

namespace ekd {

void run_branches(c10::Device device, const std::vector<std::function<void()>>& works) {
#ifdef EKD_WITH_CUDA
  if (device.is_cuda() && works.size() > 1) {
    const auto trunk = c10::cuda::getCurrentCUDAStream(device.index());
    std::vector<c10::cuda::CUDAStream> sides;
    for (std::size_t i = 1; i < works.size(); ++i) {
      sides.push_back(stream_beside(trunk, i));  // the stream at 0 is SideStream's
      order(trunk, sides.back());
    }
    const auto join = [&] {
      for (const auto& side : sides) order(side, trunk);
    };
    try {
      works[0]();
      for (std::size_t i = 1; i < works.size(); ++i) {
        const c10::cuda::CUDAStreamGuard on_side(sides[i - 1]);
        works[i]();
      }
    } catch (...) {
      try {
        join();                          // a recording whose streams are not joined cannot be ended
      } catch (const std::exception&) {  // one that has failed for good takes nothing any more
      }
      throw;
    }
    join();
    return;
  }
#endif
  static_cast<void>(device);
  for (const auto& work : works) work();
}

}  // namespace ekd

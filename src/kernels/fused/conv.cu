#include "kernels/fused/conv.h"
#include "kernels/fused/device.cuh"
#include "kernels/fused/launches.h"

namespace ekd {

int launch_on(const ConvTask& task, CudaStream stream) { return run_fused(task, CudaRun{stream}); }

}  // namespace ekd

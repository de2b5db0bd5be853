#include "ekd/kernels/fused/conv.h"
#include "ekd/kernels/fused/device.cuh"
#include "ekd/kernels/fused/launches.h"

namespace ekd {

int launch_on(const ConvTask& task, CudaStream stream) { return run_fused(task, CudaRun{stream}); }

}  // namespace ekd

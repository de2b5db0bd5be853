#include "ekd/kernels/fused/conv_weight.h"
#include "ekd/kernels/fused/device.cuh"
#include "ekd/kernels/fused/launches.h"

namespace ekd {

int launch_on(const ConvWeightTask& task, CudaStream stream) { return run_fused(task, CudaRun{stream}); }

}  // namespace ekd

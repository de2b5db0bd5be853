#include "kernels/fused/conv_weight.h"
#include "kernels/fused/device.cuh"
#include "kernels/fused/launches.h"

namespace ekd {

int launch_on(const ConvWeightTask& task, CudaStream stream) { return run_fused(task, CudaRun{stream}); }
int launch_on(const PointwiseWeightTask& task, CudaStream stream) { return run_fused(task, CudaRun{stream}); }

}  // namespace ekd

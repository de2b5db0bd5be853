#include "kernels/fused/dense.h"
#include "kernels/fused/device.cuh"
#include "kernels/fused/launches.h"

namespace ekd {

int launch_on(const DenseTask& task, CudaStream stream) { return run_fused(task, CudaRun{stream}); }
int launch_on(const DenseWeightTask& task, CudaStream stream) { return run_fused(task, CudaRun{stream}); }

}  // namespace ekd

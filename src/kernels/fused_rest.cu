#include "ekd/kernels/fused/depthwise.h"
#include "ekd/kernels/fused/device.cuh"
#include "ekd/kernels/fused/join.h"
#include "ekd/kernels/fused/launches.h"
#include "ekd/kernels/fused/parameters.h"

namespace ekd {

int launch_on(const DepthwiseTask& task, CudaStream stream) { return run_fused(task, CudaRun{stream}); }
int launch_on(const JoinTask& task, CudaStream stream) { return run_fused(task, CudaRun{stream}); }
int launch_on(const PoolTask& task, CudaStream stream) { return run_fused(task, CudaRun{stream}); }
int launch_on(const RoundTask& task, CudaStream stream) { return run_fused(task, CudaRun{stream}); }
int launch_on(const GradientTask& task, CudaStream stream) { return run_fused(task, CudaRun{stream}); }
int launch_on(const RunningTask& task, CudaStream stream) { return run_fused(task, CudaRun{stream}); }
int launch_on(const NormTable& task, CudaStream stream) { return run_fused(task, CudaRun{stream}); }
int launch_on(const SgdTask& task, CudaStream stream) { return run_fused(task, CudaRun{stream}); }
int launch_on(const TermsTask& task, CudaStream stream) { return run_fused(task, CudaRun{stream}); }

}  // namespace ekd

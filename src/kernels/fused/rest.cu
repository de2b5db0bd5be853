#include "kernels/fused/depthwise.h"
#include "kernels/fused/device.cuh"
#include "kernels/fused/join.h"
#include "kernels/fused/launches.h"
#include "kernels/fused/parameters.h"

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

// What the .cu files of the fused kernels offer: each returns a cudaError_t and waits for nothing.
#pragma once

#include "ekd/kernels/host_device.h"

namespace ekd {

struct ConvTask;
struct ConvWeightTask;
struct PointwiseWeightTask;
struct DenseTask;
struct DenseWeightTask;
struct DepthwiseTask;
struct JoinTask;
struct PoolTask;
struct RoundTask;
struct GradientTask;
struct RunningTask;
struct NormTable;
struct SgdTask;
struct TermsTask;

int launch_on(const ConvTask& task, CudaStream stream);
int launch_on(const ConvWeightTask& task, CudaStream stream);
int launch_on(const PointwiseWeightTask& task, CudaStream stream);
int launch_on(const DenseTask& task, CudaStream stream);
int launch_on(const DenseWeightTask& task, CudaStream stream);
int launch_on(const DepthwiseTask& task, CudaStream stream);
int launch_on(const JoinTask& task, CudaStream stream);
int launch_on(const PoolTask& task, CudaStream stream);
int launch_on(const RoundTask& task, CudaStream stream);
int launch_on(const GradientTask& task, CudaStream stream);
int launch_on(const RunningTask& task, CudaStream stream);
int launch_on(const NormTable& task, CudaStream stream);
int launch_on(const SgdTask& task, CudaStream stream);
int launch_on(const TermsTask& task, CudaStream stream);

}  // namespace ekd

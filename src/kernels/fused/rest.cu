// All other fused kernels.
#include "kernels/fused/depthwise.h"
#include "kernels/fused/join.h"
#include "kernels/fused/parameters.h"
#include "kernels/fused/row_losses.h"

namespace ekd {

template int launch_on(const DepthwiseTask&, CudaStream);
template int launch_on(const JoinTask&, CudaStream);
template int launch_on(const PoolTask&, CudaStream);
template int launch_on(const RoundTask&, CudaStream);
template int launch_on(const GradientTask&, CudaStream);
template int launch_on(const RunningTask&, CudaStream);
template int launch_on(const NormTable&, CudaStream);
template int launch_on(const SgdTask&, CudaStream);
template int launch_on(const TermsTask&, CudaStream);
template int launch_on(const SoftenTask&, CudaStream);
template int launch_on(const DivergenceTask&, CudaStream);
template int launch_on(const CrossEntropyTask&, CudaStream);
template int launch_on(const JensenShannonTask&, CudaStream);
template int launch_on(const RowTotalTask&, CudaStream);

}  // namespace ekd

// The kernels of convolutions of any size.
#include "kernels/fused/conv.h"
#include "kernels/fused/conv_weight.h"

namespace ekd {

template int launch_on(const ConvTask&, CudaStream);
template int launch_on(const ConvWeightTask&, CudaStream);
template int launch_on(const PointwiseWeightTask&, CudaStream);

}  // namespace ekd

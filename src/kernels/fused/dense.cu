// The kernels of convolutions of known sizes.
#include "kernels/fused/dense.h"

namespace ekd {

template int launch_on(const DenseTask&, CudaStream);
template int launch_on(const DenseWeightTask&, CudaStream);

}  // namespace ekd

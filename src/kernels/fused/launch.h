// The launches of the fused kernels.
#pragma once

#include <c10/core/Device.h>

#include <functional>
#include <variant>

#include "kernels/fused/conv_weight.h"
#include "kernels/fused/dense.h"
#include "kernels/fused/depthwise.h"
#include "kernels/fused/join.h"
#include "kernels/fused/parameters.h"

namespace ekd {

using FusedTask = std::variant<ConvTask, ConvWeightTask, PointwiseWeightTask, DenseTask, DenseWeightTask, DepthwiseTask,
                               JoinTask, PoolTask, RoundTask, GradientTask, RunningTask, NormTable, SgdTask, TermsTask>;

// Does the task on the device's current stream. Throws c10::Error where CUDA refuses.
void launch_fused(const FusedTask& task, c10::Device device);

// Whether a block may have so much shared memory on the device.
bool has_shared_bytes(c10::Device device, std::size_t bytes);

// For tests: from now on tasks on the CPU are done by `emulator`; none: the CPU has no fused kernels.
using FusedEmulator = std::function<void(const FusedTask&)>;
void set_fused_emulator(FusedEmulator emulator);

}  // namespace ekd

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
#include "kernels/fused/row_losses.h"

namespace ekd {

using FusedTask = std::variant<ConvTask, ConvWeightTask, PointwiseWeightTask, DenseTask, DenseWeightTask, DepthwiseTask,
                               JoinTask, PoolTask, RoundTask, GradientTask, RunningTask, NormTable, SgdTask, TermsTask,
                               SoftenTask, DivergenceTask, CrossEntropyTask, JensenShannonTask, RowTotalTask>;

// Does the task: on a GPU on the device's current stream (throws c10::Error where CUDA refuses), on a CPU at once.
void launch_fused(const FusedTask& task, c10::Device device);

// Whether a block may have so much shared memory on the device.
bool has_shared_bytes(c10::Device device, std::size_t bytes);

// Whether the device is a CPU with kernels of its own (cpu.h), whose convolutions are no tasks.
bool has_own_convolutions(c10::Device device);

// For tests: from now on tasks on the CPU are done by `emulator`; none: as ever.
using FusedEmulator = std::function<void(const FusedTask&)>;
void set_fused_emulator(FusedEmulator emulator);

}  // namespace ekd

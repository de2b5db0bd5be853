// The shuffle of ShuffleNet's channels on the CPU, moving whole vectors where LibTorch moves single numbers.
#pragma once

#include <ATen/core/Tensor.h>

namespace ekd {

// Whether the kernel takes x [N, C, H, W]: numbers of two or four bytes in channels_last layout, on the CPU.
bool shuffle_by_groups_takes(const at::Tensor& x);

// Reads the channels as [groups, C / groups] and writes them as [C / groups, groups]; `groups` divides C. The shuffle
// by C / groups turns it back.
at::Tensor shuffle_by_groups(const at::Tensor& x, std::int64_t groups);

}  // namespace ekd

// The order in which an epoch visits the training set.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace ekd {

// A permutation of {0, …, size - 1}, a function of (seed, epoch) alone: rows sorted by counted 64-bit keys. int64
// [size], CPU.
at::Tensor epoch_order(std::int64_t size, std::uint32_t seed, std::int64_t epoch);

}  // namespace ekd

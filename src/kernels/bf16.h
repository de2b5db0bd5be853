// bfloat16 for kernels that know nothing of LibTorch: the upper half of a float32, rounded to nearest, ties to even.
#pragma once

#include <cstdint>
#include <cstring>

#include "ekd/kernels/host_device.h"

#ifdef __CUDACC__
#include <cuda_bf16.h>
#endif

namespace ekd {

struct Bf16 {
  std::uint16_t bits;
};

// The float32 of these bits.
EKD_HOST_DEVICE inline float float_of(std::uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
#endif
}

EKD_HOST_DEVICE inline float to_float(float value) { return value; }
EKD_HOST_DEVICE inline float to_float(Bf16 value) { return float_of(static_cast<std::uint32_t>(value.bits) << 16); }

// `value` as a T, float or Bf16; NaN stays NaN.
template <class T>
EKD_HOST_DEVICE T from_float(float value);
template <>
EKD_HOST_DEVICE inline float from_float<float>(float value) {
  return value;
}
template <>
EKD_HOST_DEVICE inline Bf16 from_float<Bf16>(float value) {
#ifdef __CUDA_ARCH__
  return {__bfloat16_as_ushort(__float2bfloat16_rn(value))};
#else
  if (value != value) return {0x7fc0};
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return {static_cast<std::uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16)};
#endif
}

}  // namespace ekd

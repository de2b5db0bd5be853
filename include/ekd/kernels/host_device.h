// What lets one header serve g++ and nvcc, and bfloat16 for both. Headers that .cu files include are C++17 and know
// nothing of LibTorch.
#pragma once

#include <cstdint>
#include <cstring>

#ifdef __CUDACC__
#include <cuda_bf16.h>

#define EKD_HOST_DEVICE __host__ __device__
// For templates whose argument may have members of the device only: silences nvcc about the host's unused copy.
#define EKD_TEAM_TEMPLATE _Pragma("nv_exec_check_disable")
#else
#define EKD_HOST_DEVICE
#define EKD_TEAM_TEMPLATE
#endif
// For functions called in a loop over pixels: inlined, what is the same for all pixels stays in registers.
#define EKD_ALWAYS_INLINE inline __attribute__((always_inline))

struct CUstream_st;

namespace ekd {

// cudaStream_t, without CUDA's headers.
using CudaStream = CUstream_st*;

// bfloat16: the upper half of a float32, rounded to nearest, ties to even.
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

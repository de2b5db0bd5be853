// What lets one header serve g++ and nvcc. Headers that .cu files include are C++17 and know nothing of LibTorch.
#pragma once

#ifdef __CUDACC__
#define EKD_HOST_DEVICE __host__ __device__
// For templates whose argument may have members of the device only: silences nvcc about the host's unused copy.
#define EKD_TEAM_TEMPLATE _Pragma("nv_exec_check_disable")
#else
#define EKD_HOST_DEVICE
#define EKD_TEAM_TEMPLATE
#endif
// For what a loop over pixels must take in, so that what is the same for all of them stays in registers.
#define EKD_ALWAYS_INLINE inline __attribute__((always_inline))

struct CUstream_st;

namespace ekd {

// cudaStream_t, without CUDA's headers.
using CudaStream = CUstream_st*;

}  // namespace ekd

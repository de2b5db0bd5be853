# Finds LibTorch and, where it is a CUDA build, the CUDA compiler it wants.
#
# Where it comes from, first hit wins: CMAKE_PREFIX_PATH, the project's own .venv, the torch of the active Python.
# Sets EKD_CUDA_KERNELS (the .cu files are built) and defines the target ekd::torch.

set(EKD_LIBTORCH_MINIMUM 2.11)

function(ekd_find_libtorch_prefix python)
  execute_process(
    COMMAND ${python} -c "import torch; print(torch.utils.cmake_prefix_path)"
    OUTPUT_VARIABLE prefix OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  if(NOT failed)
    set(EKD_LIBTORCH_PREFIX "${prefix}" CACHE PATH "Folder that holds LibTorch's CMake files")
  endif()
endfunction()

find_path(EKD_TORCH_CONFIG TorchConfig.cmake PATH_SUFFIXES share/cmake/Torch Torch NO_CACHE)
if(NOT EKD_TORCH_CONFIG)
  if(NOT EKD_LIBTORCH_PREFIX AND EXISTS ${PROJECT_SOURCE_DIR}/.venv/bin/python)
    ekd_find_libtorch_prefix(${PROJECT_SOURCE_DIR}/.venv/bin/python)
  endif()
  if(NOT EKD_LIBTORCH_PREFIX)
    ekd_find_libtorch_prefix(python3)
  endif()
  list(APPEND CMAKE_PREFIX_PATH ${EKD_LIBTORCH_PREFIX})
endif()

# nvcc from the cuda-toolkit[nvcc] wheel lies beside torch in the same environment (see scripts/setup.sh).
if(NOT DEFINED CUDAToolkit_ROOT AND NOT DEFINED ENV{CUDA_HOME} AND EKD_LIBTORCH_PREFIX)
  cmake_path(SET wheel_cuda NORMALIZE ${EKD_LIBTORCH_PREFIX}/../../../nvidia/cu13)
  find_program(EKD_NVCC nvcc NO_CACHE)
  if(NOT EKD_NVCC AND EXISTS ${wheel_cuda}/bin/nvcc)
    set(ENV{CUDA_HOME} ${wheel_cuda})
    set(CUDAToolkit_ROOT ${wheel_cuda})
    set(CUDA_TOOLKIT_ROOT_DIR ${wheel_cuda})
    set(CMAKE_CUDA_COMPILER ${wheel_cuda}/bin/nvcc)
  endif()
endif()

# Detecting the GPU's architecture fails on machines without one, so it is always stated. Override with -DTORCH_CUDA_ARCH_LIST=...
if(NOT DEFINED TORCH_CUDA_ARCH_LIST)
  if(DEFINED ENV{TORCH_CUDA_ARCH_LIST})
    set(TORCH_CUDA_ARCH_LIST $ENV{TORCH_CUDA_ARCH_LIST})
  else()
    set(TORCH_CUDA_ARCH_LIST "8.0;9.0+PTX")
  endif()
endif()

find_package(Torch ${EKD_LIBTORCH_MINIMUM} REQUIRED)

include(CheckLanguage)
set(EKD_CUDA_KERNELS OFF)
if(TORCH_CUDA_LIBRARIES OR TARGET torch_cuda)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    find_package(CUDAToolkit REQUIRED)
    set(EKD_CUDA_KERNELS ON)
    # LibTorch's CMake files have put -gencode for TORCH_CUDA_ARCH_LIST into the flags already.
    set(CMAKE_CUDA_ARCHITECTURES OFF)
  endif()
endif()
message(STATUS "LibTorch ${Torch_VERSION}, CUDA kernels: ${EKD_CUDA_KERNELS}")

# LibTorch's flags and include folders as one target; its headers are system headers, so our warnings stay ours.
add_library(ekd_torch INTERFACE)
add_library(ekd::torch ALIAS ekd_torch)
target_link_libraries(ekd_torch INTERFACE ${TORCH_LIBRARIES})
target_include_directories(ekd_torch SYSTEM INTERFACE ${TORCH_INCLUDE_DIRS})
find_package(OpenMP REQUIRED COMPONENTS CXX)
target_compile_options(ekd_torch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:${OpenMP_CXX_FLAGS}>)

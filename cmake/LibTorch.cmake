# Finds LibTorch and, where it is a CUDA build, the CUDA compiler it wants.
#
# Where it comes from, first hit wins: CMAKE_PREFIX_PATH, the project's own .venv, the torch of the active Python.
# Sets EKD_WITH_CUDA (the .cu files are built) and defines the target ekd::torch.

set(EKD_LIBTORCH_MINIMUM 2.11)

function(ekd_find_libtorch_prefix python)
  # Without importing it: that takes seconds.
  execute_process(
    COMMAND ${python} -c "import importlib.util as u, os; print(os.path.join(os.path.dirname(u.find_spec('torch').origin), 'share', 'cmake'))"
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

# The CUDA compiler: what the user names; else the nvcc wheel in .venv, which scripts/setup.sh puts there only where no
# installed toolkit fits this LibTorch; else an installed toolkit, whose nvcc need not be on PATH.
if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED CUDAToolkit_ROOT AND NOT DEFINED ENV{CUDACXX})
  file(GLOB wheel_nvcc ${PROJECT_SOURCE_DIR}/.venv/lib/python3*/site-packages/nvidia/cu13/bin/nvcc)
  if(wheel_nvcc AND NOT EXISTS $ENV{CUDA_HOME}/bin/nvcc)
    list(GET wheel_nvcc 0 wheel_nvcc)
    cmake_path(GET wheel_nvcc PARENT_PATH wheel_cuda)
    cmake_path(GET wheel_cuda PARENT_PATH wheel_cuda)
    set(ENV{CUDA_HOME} ${wheel_cuda})
    set(CUDAToolkit_ROOT ${wheel_cuda})
    set(CUDA_TOOLKIT_ROOT_DIR ${wheel_cuda})
    set(CMAKE_CUDA_COMPILER ${wheel_nvcc})
  else()
    find_program(EKD_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin PATHS /usr/local/cuda/bin NO_CACHE)
    if(EKD_NVCC)
      set(CMAKE_CUDA_COMPILER ${EKD_NVCC})
    endif()
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
set(EKD_WITH_CUDA OFF)
if(TORCH_CUDA_LIBRARIES OR TARGET torch_cuda)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    set(CMAKE_CUDA_RUNTIME_LIBRARY Shared)  # the one LibTorch loads; a static copy would be a second runtime
    enable_language(CUDA)
    # LibTorch's own module has found the toolkit. CMake 3.25's stumbles over CUDA 13, which has no nvToolsExt.
    if(NOT TARGET CUDA::cudart)
      find_package(CUDAToolkit REQUIRED)
    endif()
    set(EKD_WITH_CUDA ON)
    # LibTorch's CMake files have put -gencode for TORCH_CUDA_ARCH_LIST into the flags already.
    set(CMAKE_CUDA_ARCHITECTURES OFF)
  endif()
endif()
message(STATUS "LibTorch ${Torch_VERSION}, CUDA kernels: ${EKD_WITH_CUDA}")

# LibTorch's flags and include folders as one target; its headers are system headers, so our warnings stay ours.
add_library(ekd_torch INTERFACE)
add_library(ekd::torch ALIAS ekd_torch)
target_link_libraries(ekd_torch INTERFACE ${TORCH_LIBRARIES})
# The wheel carries a newer {fmt} than the one the system's spdlog is built with; the system's has to be found first.
find_path(EKD_FMT_INCLUDE fmt/core.h PATHS /usr/include NO_CMAKE_PATH REQUIRED)
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/system_fmt)
file(CREATE_LINK ${EKD_FMT_INCLUDE}/fmt ${PROJECT_BINARY_DIR}/system_fmt/fmt SYMBOLIC)
target_include_directories(ekd_torch SYSTEM INTERFACE ${PROJECT_BINARY_DIR}/system_fmt ${TORCH_INCLUDE_DIRS})
# at::parallel_for is header code: without this flag it runs serially. The run-time library is the one LibTorch loads.
find_package(OpenMP REQUIRED COMPONENTS CXX)
target_link_libraries(ekd_torch INTERFACE OpenMP::OpenMP_CXX)
# libtorch.so exports its own copies of std::filesystem, which crash in our hands (remove_all calls a null pointer): the
# C++ library must come before it in the order in which symbols are looked up.
target_link_options(ekd_torch INTERFACE LINKER:--push-state,--no-as-needed,-lstdc++,--pop-state)

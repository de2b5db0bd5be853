// The base-view kernel's arguments, for its CPU and its CUDA driver.
#pragma once

#include <cstdint>

#include "ekd/kernels/host_device.h"
#include "ekd/kernels/normalise.h"
#include "ekd/kernels/view_map.h"

namespace ekd {

struct BaseViewTask {
  const std::uint8_t* images;     // [N, channels, height, width]
  const std::int64_t* rows;       // [batch], of images; null: 0, 1, …
  const ViewParams* views;        // [M]; null: the image as it is
  const std::int64_t* view_rows;  // [batch], of views
  float* out;                     // [batch, height, width, channels]
  std::int64_t batch;
  int channels, height, width;
  ViewOrder order;
  ChannelScale scale;
};

// Returns a cudaError_t; 0 is success.
int launch_base_view(const BaseViewTask& task, CudaStream stream);

}  // namespace ekd

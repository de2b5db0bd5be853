// The shape of an image whose channels lie one after another.
#pragma once

#include "ekd/kernels/host_device.h"

namespace ekd {

struct PlanarShape {
  int channels, height, width;
  EKD_HOST_DEVICE int pixels() const { return height * width; }
};

}  // namespace ekd

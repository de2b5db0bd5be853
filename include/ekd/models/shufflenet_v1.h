// ShuffleNetV1 with three groups, in the form that the field uses for 32×32 images (no pooling in the stem).
// Zhang et al., "ShuffleNet: an extremely efficient convolutional neural network for mobile devices", CVPR 2018.
#pragma once

#include <cstdint>
#include <memory>

#include "ekd/models/classifier.h"

namespace ekd {

// Features: "layer1", "layer2", "layer3" (240, 480 and 960 channels, after their activation) and "pooled" [N, 960].
std::unique_ptr<Classifier> make_shufflenet_v1(const ModelSpec& spec, std::uint64_t seed);

}  // namespace ekd

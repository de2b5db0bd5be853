// WRN-40-2. Zagoruyko and Komodakis, "Wide residual networks", BMVC 2016; pre-activation blocks, no dropout.
#pragma once

#include <cstdint>
#include <memory>

#include "ekd/models/classifier.h"

namespace ekd {

// Features: "block1", "block2", "block3" (32, 64 and 128 channels, before their activation) and "pooled" [N, 128].
std::unique_ptr<Classifier> make_wrn_40_2(const ModelSpec& spec, std::uint64_t seed);

}  // namespace ekd

// What the sources of the networks offer to the registry. `spec.name` says which network of a family is made; all take
// images of any size that their strides leave something of, in the form that the field uses for 32×32 ones.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "ekd/models/classifier.h"

namespace ekd {

using StartSeed = std::optional<std::uint64_t>;  // none: shapes without values

std::unique_ptr<Classifier> make_wide_resnet(const ModelSpec& spec, StartSeed seed);   // wrn_DEPTH_WIDTH
std::unique_ptr<Classifier> make_resnet(const ModelSpec& spec, StartSeed seed);        // resnetDEPTH, resnetDEPTHx4
std::unique_ptr<Classifier> make_resnet_50(const ModelSpec& spec, StartSeed seed);     // resnet50
std::unique_ptr<Classifier> make_vgg(const ModelSpec& spec, StartSeed seed);           // vggDEPTH
std::unique_ptr<Classifier> make_mobilenet_v2(const ModelSpec& spec, StartSeed seed);  // mobilenet_v2
std::unique_ptr<Classifier> make_shufflenet_v1(const ModelSpec& spec, StartSeed seed);
std::unique_ptr<Classifier> make_shufflenet_v2(const ModelSpec& spec, StartSeed seed);

// wrn_DEPTH_WIDTH with a depth of 6 · n + 4 up to 1000 and a width from 1 to 64.
bool is_wide_resnet(const std::string& name);

}  // namespace ekd

// The built-in data set: 100 classes of 32 x 32 RGB pictures, drawn by integer arithmetic from counted random numbers,
// so that every machine has the same bits and any record can be made without the others.
//
// A class is one of ten shapes and one of ten families (a texture with a range of hues). Position, size, turn, hues,
// texture phase, background, a smaller distractor, an occluder, contrast and noise vary freely; one record in ten shows
// a family drawn anew, so that no network can be right always.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "ekd/core/types.h"

namespace ekd {

inline constexpr std::int64_t kSyntheticClasses = 100;
inline constexpr std::int64_t kSyntheticTrainRecords = 10'000;
inline constexpr std::int64_t kSyntheticTestRecords = 2'000;

enum class SyntheticSplit { kTrain, kTest };

// Record k shows class k mod 100: uint8 labels of all records of a split.
std::vector<std::uint8_t> synthetic_labels(SyntheticSplit split);

// Draws the named records (in parallel) with their labels.
ImageSet synthetic_records(SyntheticSplit split, std::span<const std::int64_t> rows);

// "SHAPE_FAMILY", 100 of them.
std::vector<std::string> synthetic_class_names();

// The whole set in CIFAR-100's binary layout: loading the folder gives the same tensors. Throws as write_cifar100 does.
void write_synthetic(const std::filesystem::path& dir);

}  // namespace ekd

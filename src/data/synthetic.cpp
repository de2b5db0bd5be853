#include "ekd/data/synthetic.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <numeric>

#include "data/cifar100.h"
#include "data/synthetic_picture.h"
#include "ekd/core/random.h"

namespace ekd {
namespace {

constexpr std::uint32_t kSeed = 0;                      // the set is one and the same, whatever a run's seed
constexpr std::uint32_t kFirstTestCounter = 1'000'000;  // far past the training records: the splits share no draw

std::int64_t records_in(SyntheticSplit split) {
  return split == SyntheticSplit::kTrain ? kSyntheticTrainRecords : kSyntheticTestRecords;
}

ImageSet all_records(SyntheticSplit split) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(records_in(split)));
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  return synthetic_records(split, rows);
}

}  // namespace

std::vector<std::uint8_t> synthetic_labels(SyntheticSplit split) {
  std::vector<std::uint8_t> labels(static_cast<std::size_t>(records_in(split)));
  for (std::size_t k = 0; k < labels.size(); ++k) labels[k] = static_cast<std::uint8_t>(k % kSyntheticClasses);
  return labels;
}

ImageSet synthetic_records(SyntheticSplit split, std::span<const std::int64_t> rows) {
  const CountedRandom random(kSeed, RandomStream::kSynthetic);
  const std::uint32_t first = split == SyntheticSplit::kTrain ? 0 : kFirstTestCounter;
  const auto count = static_cast<std::int64_t>(rows.size());
  ImageSet set{at::empty({count, 3, kCifarSide, kCifarSide}, at::kByte), at::empty({count}, at::kLong)};
  auto* images = set.images.mutable_data_ptr<std::uint8_t>();
  auto* labels = set.labels.mutable_data_ptr<std::int64_t>();
  at::parallel_for(0, count, 32, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t record = rows[static_cast<std::size_t>(i)];
      labels[i] = record % kSyntheticClasses;
      const std::uint32_t counter = first + static_cast<std::uint32_t>(record);
      const SyntheticScene scene = synthetic_scene(random, counter, static_cast<int>(labels[i]));
      draw_synthetic_scene(scene, random, counter, images + i * kCifarImageBytes);
    }
  });
  return set;
}

std::vector<std::string> synthetic_class_names() {
  std::vector<std::string> names;
  for (int label = 0; label < kSyntheticClasses; ++label) {
    names.push_back(std::string(kSyntheticShapeNames[static_cast<std::size_t>(synthetic_shape_of(label))]) + "_" +
                    kSyntheticFamilyNames[static_cast<std::size_t>(synthetic_family_of(label))]);
  }
  return names;
}

void write_synthetic(const std::filesystem::path& dir) {
  std::vector<std::string> coarse_names;
  for (int group = 0; group < kCifarCoarseClasses; ++group) coarse_names.push_back("group_" + std::to_string(group));
  write_cifar100(dir, all_records(SyntheticSplit::kTrain), all_records(SyntheticSplit::kTest), synthetic_class_names(),
                 coarse_names);
}

}  // namespace ekd

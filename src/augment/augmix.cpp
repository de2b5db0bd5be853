#include "augment/augmentations.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include <array>
#include <cmath>

#include "augment/parts.h"
#include "augment/samplers.h"
#include "ekd/kernels/augmix_op.h"

namespace ekd {
namespace {

constexpr std::int64_t kMixtures = 2;
constexpr std::int64_t kMostChains = 32;

// Columns: mixture, chain, operation and purpose in one byte each, so that no setting moves another one's draws.
enum Purpose : std::uint32_t { kDepth = 0, kOperation = 1, kLevel = 2, kSign = 3 };
enum OfMixture : std::uint32_t { kShare = 0xFFFF00, kWeights = 0xFF0000 };
std::uint32_t column(std::int64_t mixture, std::int64_t chain, std::int64_t place, Purpose purpose) {
  return static_cast<std::uint32_t>(mixture << 24 | chain << 16 | place << 8) | purpose;
}

struct Chain {
  std::int8_t* operations;
  double* amounts;
};

void draw_chain(const RowDraws& draws, std::int64_t mixture, std::int64_t chain, ImageSize size,
                const AugmentConfig& config, Chain out) {
  constexpr double kLowestLevel = 0.1;
  const std::int64_t depth = 1 + draws.below(config.augmix_depth, column(mixture, chain, 0, kDepth));
  for (std::int64_t place = 0; place < config.augmix_depth; ++place) {
    const auto at = [&](Purpose purpose) { return column(mixture, chain, place, purpose); };
    if (place >= depth) {
      out.operations[place] = static_cast<std::int8_t>(AugmixOp::kNone);
      out.amounts[place] = 0;
      continue;
    }
    const int operation = 1 + static_cast<int>(draws.below(kAugmixOps, at(kOperation)));
    const double level = kLowestLevel + (config.augmix_severity - kLowestLevel) * draws.uniform(at(kLevel));
    out.operations[place] = static_cast<std::int8_t>(operation);
    out.amounts[place] = augmix_amount(operation, level, draws.chance(0.5, at(kSign)), size);
  }
}

// The weights of the chains and, last, the share of the mixture.
void draw_weights(const RowDraws& draws, std::int64_t mixture, const AugmentConfig& config, float* weights) {
  std::array<double, kMostChains> chain_weights{};
  const auto first = static_cast<std::uint32_t>(mixture << 24);
  dirichlet_variate(draws, first | kWeights, config.augmix_alpha, chain_weights.data(),
                    static_cast<int>(config.augmix_width));
  for (std::size_t chain = 0; chain < static_cast<std::size_t>(config.augmix_width); ++chain)
    *weights++ = static_cast<float>(chain_weights[chain]);
  *weights = static_cast<float>(beta_variate(draws, first | kShare, config.augmix_alpha));
}

class Augmix final : public Augmentation {
 public:
  explicit Augmix(const AugmentationContext& context) : context_(context) {}

  void begin_epoch(std::int64_t epoch) override {
    const auto& images = context_.train.images;
    const AugmixTables drawn =
        draw_augmix(context_.seed, epoch_word(epoch), images.size(0), size_of(images), context_.config);
    for (const auto table : {&AugmixTables::views, &AugmixTables::operations, &AugmixTables::amounts,
                             &AugmixTables::weights, &AugmixTables::rotations})
      upload(tables_.*table, drawn.*table, images.device());
  }

  Batch batch(const at::Tensor& rows, std::int64_t) const override {
    TORCH_CHECK(tables_.views.defined(), "begin_epoch comes before the first batch");
    Batch batch = labelled_batch(context_, rows);
    batch.views = 1 + kMixtures;
    batch.images = augmix_views(context_.train.images, rows, tables_, context_.normalisation, context_.image_dtype);
    return batch;
  }

 private:
  AugmentationContext context_;
  AugmixTables tables_;
};

}  // namespace

double augmix_amount(int operation, double level, bool negative, ImageSize size) {
  const double sign = negative ? -1 : 1;
  switch (static_cast<AugmixOp>(operation)) {
    case AugmixOp::kPosterize:
      return 4 - std::floor(4 * level / 10);
    case AugmixOp::kRotate:
      return sign * std::floor(30 * level / 10);
    case AugmixOp::kSolarize:
      return 256 - std::floor(256 * level / 10);
    case AugmixOp::kShearX:
    case AugmixOp::kShearY:
      return sign * (0.3 * level / 10);
    case AugmixOp::kTranslateX:
      return sign * std::floor(static_cast<double>(size.width) / 3 * level / 10);
    case AugmixOp::kTranslateY:
      return sign * std::floor(static_cast<double>(size.height) / 3 * level / 10);
    default:
      return 0;
  }
}

AugmixTables draw_augmix(std::uint32_t seed, std::uint32_t epoch, std::int64_t count, ImageSize size,
                         const AugmentConfig& config) {
  constexpr std::int64_t kRowsPerChunk = 64;
  const std::int64_t width = config.augmix_width, depth = config.augmix_depth;
  TORCH_CHECK(width >= 1 && width <= kMostChains && depth >= 1 && depth <= 255,
              "AugMix has 1 to 32 chains of 1 to 255");
  const AugmixTables tables{
      draw_base_views(seed, RandomStream::kBaseView, epoch, count, size, config),
      at::empty({count, kMixtures, width, depth}, at::kChar), at::empty({count, kMixtures, width, depth}, at::kDouble),
      at::empty({count, kMixtures, width + 1}, at::kFloat), augmix_rotations(size.height, size.width)};
  auto* operations = tables.operations.mutable_data_ptr<std::int8_t>();
  auto* amounts = tables.amounts.mutable_data_ptr<double>();
  auto* weights = tables.weights.mutable_data_ptr<float>();
  const CountedRandom random(seed, RandomStream::kAugmix);
  at::parallel_for(0, count, kRowsPerChunk, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const RowDraws draws(random, epoch, static_cast<std::uint32_t>(row));
      for (std::int64_t mixture = 0; mixture < kMixtures; ++mixture) {
        const std::int64_t drawn = row * kMixtures + mixture;
        draw_weights(draws, mixture, config, weights + drawn * (width + 1));
        for (std::int64_t chain = 0; chain < width; ++chain) {
          const std::int64_t first = (drawn * width + chain) * depth;
          draw_chain(draws, mixture, chain, size, config, {operations + first, amounts + first});
        }
      }
    }
  });
  return tables;
}

std::unique_ptr<Augmentation> make_augmix(const AugmentationContext& context) {
  return std::make_unique<Augmix>(context);
}

}  // namespace ekd

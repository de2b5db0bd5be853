#include "augment/augmentations.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>

#include "augment/parts.h"
#include "augment/samplers.h"

namespace ekd {
namespace {

struct MixupColumn {
  enum : std::uint32_t { kFactor = 0, kPartner = 16 };
};

class Mixup final : public Augmentation {
 public:
  explicit Mixup(const AugmentationContext& context)
      : context_(context),
        views_(context, RandomStream::kBaseView),
        partners_(context.train.size(), context.batch_size) {}

  void begin_epoch(std::int64_t epoch) override {
    views_.begin_epoch(epoch);
    epoch_ = epoch_word(epoch);
    const at::Tensor factors = at::empty({partners_.batches()}, at::kFloat);
    partners_.begin_epoch(context_.train.images.device(), [&](std::int64_t index, std::int64_t size) {
      const MixupDraws draws = draw_mixup(context_.seed, epoch_, index, size, context_.config.mixup_alpha);
      factors.select(0, index).copy_(draws.factor);
      return draws.partner;
    });
    upload(factors_, factors, context_.train.images.device());
  }

  Batch batch(const at::Tensor& rows, std::int64_t batch_index) const override {
    const at::Tensor partners = partners_.of(rows, batch_index), factor = factors_.narrow(0, batch_index, 1);
    Batch batch = labelled_batch(context_, rows);
    batch.images = mixed_view(context_.train.images, views_.seen(rows), views_.seen(partners), factor,
                              context_.normalisation, context_.image_dtype);
    batch.targets = mixed_targets(context_, batch.targets, partners, factor);
    return batch;
  }

 private:
  AugmentationContext context_;
  PlainViews views_;
  BatchPartners partners_;
  at::Tensor factors_;  // float32 [batches]
  std::uint32_t epoch_ = 0;
};

}  // namespace

MixupDraws draw_mixup(std::uint32_t seed, std::uint32_t epoch, std::int64_t batch_index, std::int64_t size,
                      double alpha) {
  const RowDraws draws(CountedRandom(seed, RandomStream::kMixup), epoch, static_cast<std::uint32_t>(batch_index));
  const at::Tensor partner = at::empty({size}, at::kLong);
  permutation(draws, MixupColumn::kPartner, size, partner.mutable_data_ptr<std::int64_t>());
  return {at::full({}, beta_variate(draws, MixupColumn::kFactor, alpha), at::kFloat), partner};
}

std::unique_ptr<Augmentation> make_mixup(const AugmentationContext& context) {
  return std::make_unique<Mixup>(context);
}

}  // namespace ekd

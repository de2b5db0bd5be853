#include "augment/augmentations.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>

#include "augment/parts.h"
#include "augment/samplers.h"

namespace ekd {
namespace {

struct CutmixColumn {
  enum : std::uint32_t { kFactor = 0, kCentreX = 6, kCentreY = 7, kPartnerRow = 8, kPartnerPlace = 16 };
};

CutmixTable empty_table(std::int64_t boxes, std::int64_t partners) {
  return {{at::empty({boxes, kBoxWords}, at::kInt), at::empty({boxes}, at::kFloat)}, at::empty({partners}, at::kLong)};
}

void draw_box(const RowDraws& draws, ImageSize size, double alpha, const CutmixDraws& table, std::int64_t row) {
  const double factor = beta_variate(draws, CutmixColumn::kFactor, alpha);
  const Box box = cutmix_box(factor, draws.below(size.width, CutmixColumn::kCentreX),
                             draws.below(size.height, CutmixColumn::kCentreY), size);
  reinterpret_cast<Box*>(table.boxes.mutable_data_ptr<std::int32_t>())[row] = box;
  table.weight.mutable_data_ptr<float>()[row] = static_cast<float>(cutmix_weight(box, size));
}

class CutmixPerImage final : public Augmentation {
 public:
  explicit CutmixPerImage(const AugmentationContext& context)
      : context_(context), views_(context, RandomStream::kBaseView), other_(context, RandomStream::kCutmixView) {}

  void begin_epoch(std::int64_t epoch) override {
    views_.begin_epoch(epoch);
    other_.begin_epoch(epoch);
    const auto& images = context_.train.images;
    const CutmixTable drawn =
        draw_cutmix(context_.seed, epoch_word(epoch), images.size(0), size_of(images), context_.config.cutmix_alpha);
    upload(table_.draws.boxes, drawn.draws.boxes, images.device());
    upload(table_.draws.weight, drawn.draws.weight, images.device());
    upload(table_.partner, drawn.partner, images.device());
  }

  Batch batch(const at::Tensor& rows, std::int64_t) const override {
    const SeenImages own = views_.seen(rows);
    const at::Tensor partners = table_.partner.index_select(0, rows);
    Batch batch = labelled_batch(context_, rows);
    batch.images = pasted_view(context_.train.images, own, other_.seen(partners, rows), {table_.draws.boxes, rows},
                               context_.normalisation, context_.image_dtype);
    batch.targets = mixed_targets(context_, batch.targets, partners, table_.draws.weight.index_select(0, rows));
    return batch;
  }

 private:
  AugmentationContext context_;
  PlainViews views_, other_;
  CutmixTable table_;  // a row for each image of the training set
};

class CutmixPerBatch final : public Augmentation {
 public:
  explicit CutmixPerBatch(const AugmentationContext& context)
      : context_(context),
        views_(context, RandomStream::kBaseView),
        partners_(context.train.size(), context.batch_size) {}

  void begin_epoch(std::int64_t epoch) override {
    views_.begin_epoch(epoch);
    const auto& images = context_.train.images;
    const CutmixTable drawn = empty_table(partners_.batches(), 0);
    partners_.begin_epoch(images.device(), [&](std::int64_t index, std::int64_t size) {
      const CutmixTable one = draw_cutmix_batch(context_.seed, epoch_word(epoch), index, size, size_of(images),
                                                context_.config.cutmix_alpha);
      drawn.draws.boxes.narrow(0, index, 1).copy_(one.draws.boxes);
      drawn.draws.weight.narrow(0, index, 1).copy_(one.draws.weight);
      return one.partner;
    });
    upload(draws_.boxes, drawn.draws.boxes, images.device());
    upload(draws_.weight, drawn.draws.weight, images.device());
  }

  Batch batch(const at::Tensor& rows, std::int64_t batch_index) const override {
    const at::Tensor partners = partners_.of(rows, batch_index);
    Batch batch = labelled_batch(context_, rows);
    batch.images =
        pasted_view(context_.train.images, views_.seen(rows), views_.seen(partners),
                    {draws_.boxes.narrow(0, batch_index, 1), {}}, context_.normalisation, context_.image_dtype);
    batch.targets = mixed_targets(context_, batch.targets, partners, draws_.weight.narrow(0, batch_index, 1));
    return batch;
  }

 private:
  AugmentationContext context_;
  PlainViews views_;
  BatchPartners partners_;
  CutmixDraws draws_;  // a row for each batch
};

}  // namespace

CutmixTable draw_cutmix(std::uint32_t seed, std::uint32_t epoch, std::int64_t count, ImageSize size, double alpha) {
  constexpr std::int64_t kRowsPerChunk = 256;
  const CountedRandom random(seed, RandomStream::kCutmix);
  const CutmixTable table = empty_table(count, count);
  auto* partner = table.partner.mutable_data_ptr<std::int64_t>();
  at::parallel_for(0, count, kRowsPerChunk, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const RowDraws draws(random, epoch, static_cast<std::uint32_t>(row));
      draw_box(draws, size, alpha, table.draws, row);
      partner[row] = draws.below(count, CutmixColumn::kPartnerRow);
    }
  });
  return table;
}

CutmixTable draw_cutmix_batch(std::uint32_t seed, std::uint32_t epoch, std::int64_t batch_index, std::int64_t batch,
                              ImageSize size, double alpha) {
  const RowDraws draws(CountedRandom(seed, RandomStream::kCutmix), epoch, static_cast<std::uint32_t>(batch_index));
  const CutmixTable table = empty_table(1, batch);
  draw_box(draws, size, alpha, table.draws, 0);
  permutation(draws, CutmixColumn::kPartnerPlace, batch, table.partner.mutable_data_ptr<std::int64_t>());
  return table;
}

std::unique_ptr<Augmentation> make_cutmix(const AugmentationContext& context) {
  if (context.config.cutmix_mode == "batch") return std::make_unique<CutmixPerBatch>(context);
  return std::make_unique<CutmixPerImage>(context);
}

}  // namespace ekd

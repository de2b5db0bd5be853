#include "augment/augmentations.h"

#include <ATen/ops/empty.h>

#include "augment/parts.h"
#include "augment/samplers.h"

namespace ekd {
namespace {

struct CutoutColumn {
  enum : std::uint32_t { kCentreX = 0, kCentreY = 1 };
};

class Cutout final : public Augmentation {
 public:
  explicit Cutout(const AugmentationContext& context) : context_(context), views_(context, RandomStream::kBaseView) {}

  void begin_epoch(std::int64_t epoch) override {
    views_.begin_epoch(epoch);
    const auto& images = context_.train.images;
    const ImageSize size = size_of(images);
    const CutoutDraws drawn = draw_cutout(context_.seed, epoch_word(epoch), images.size(0), size,
                                          scaled_pixels(context_.config.cutout_size, size));
    upload(boxes_, drawn.boxes, images.device());
  }

  Batch batch(const at::Tensor& rows, std::int64_t) const override {
    Batch batch = labelled_batch(context_, rows);
    batch.images = blanked_view(context_.train.images, views_.seen(rows), {boxes_, rows}, context_.normalisation,
                                context_.image_dtype);
    return batch;
  }

 private:
  AugmentationContext context_;
  PlainViews views_;
  at::Tensor boxes_;  // int32 [N, 4]
};

}  // namespace

CutoutDraws draw_cutout(std::uint32_t seed, std::uint32_t epoch, std::int64_t count, ImageSize size,
                        std::int64_t side) {
  const CountedRandom random(seed, RandomStream::kCutout);
  const CutoutDraws drawn{at::empty({count, kBoxWords}, at::kInt)};
  auto* boxes = reinterpret_cast<Box*>(drawn.boxes.mutable_data_ptr<std::int32_t>());
  for (std::int64_t row = 0; row < count; ++row) {
    const RowDraws draws(random, epoch, static_cast<std::uint32_t>(row));
    boxes[row] = cutout_box(side, draws.below(size.width, CutoutColumn::kCentreX),
                            draws.below(size.height, CutoutColumn::kCentreY), size);
  }
  return drawn;
}

std::unique_ptr<Augmentation> make_cutout(const AugmentationContext& context) {
  return std::make_unique<Cutout>(context);
}

}  // namespace ekd

#include "augment/plain_views.h"

#include <ATen/TensorOperators.h>

#include <limits>

#include "ekd/augment/base_view.h"

namespace ekd {
namespace {

// The base view alone.
class None final : public Augmentation {
 public:
  explicit None(const AugmentationContext& context) : context_(context), views_(context, RandomStream::kBaseView) {}
  void begin_epoch(std::int64_t epoch) override { views_.begin_epoch(epoch); }

  Batch batch(const at::Tensor& rows, std::int64_t) const override {
    Batch batch = labelled_batch(context_, rows);
    batch.images = base_view(context_.train.images, views_.seen(rows), context_.normalisation, context_.image_dtype);
    return batch;
  }

 private:
  AugmentationContext context_;
  PlainViews views_;
};

}  // namespace

PlainViews::PlainViews(const AugmentationContext& context, RandomStream stream) : context_(context), stream_(stream) {}

void PlainViews::begin_epoch(std::int64_t epoch) {
  const auto& images = context_.train.images;
  upload(views_,
         draw_base_views(context_.seed, stream_, epoch_word(epoch), images.size(0), size_of(images), context_.config),
         images.device());
}

SeenImages PlainViews::seen(const at::Tensor& rows, const at::Tensor& view_rows) const {
  TORCH_CHECK(views_.defined(), "begin_epoch comes before the first batch");
  return {rows, views_, view_rows, ViewOrder::kCropFlipRotate};
}

Batch labelled_batch(const AugmentationContext& context, const at::Tensor& rows) {
  Batch batch;
  batch.labels = context.train.labels.index_select(0, rows);
  batch.targets = one_hot_targets(batch.labels, context.classes);
  return batch;
}

at::Tensor mixed_targets(const AugmentationContext& context, const at::Tensor& own, const at::Tensor& partners,
                         const at::Tensor& weight) {
  const at::Tensor share = weight.unsqueeze(1);
  return own * share + labelled_batch(context, partners).targets * (1 - share);
}

std::uint32_t epoch_word(std::int64_t epoch) {
  TORCH_CHECK(epoch >= 0 && epoch <= std::numeric_limits<std::uint32_t>::max(), "epoch ", epoch, " is no counter word");
  return static_cast<std::uint32_t>(epoch);
}

void upload(at::Tensor& table, const at::Tensor& drawn, at::Device device) {
  if (table.defined() && table.sizes() == drawn.sizes()) {
    table.copy_(drawn);
  } else {
    table = drawn.to(device);
  }
}

std::unique_ptr<Augmentation> make_none(const AugmentationContext& context) { return std::make_unique<None>(context); }

}  // namespace ekd

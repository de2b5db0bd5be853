#include "augment/parts.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
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

struct Span {
  std::int32_t begin, end;
};

Span clipped(std::int64_t begin, std::int64_t end, std::int64_t side) {
  return {static_cast<std::int32_t>(std::clamp(begin, std::int64_t{0}, side)),
          static_cast<std::int32_t>(std::clamp(end, std::int64_t{0}, side))};
}

Span cutmix_span(double cut, std::int64_t centre, std::int64_t side) {
  const auto half = static_cast<std::int64_t>(static_cast<double>(side) * cut) / 2;
  return clipped(centre - half, centre + half, side);
}

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

BatchPartners::BatchPartners(std::int64_t rows, std::int64_t batch_size)
    : rows_(rows), batch_size_(std::min(batch_size, rows)), batches_((rows + batch_size_ - 1) / batch_size_) {}

std::int64_t BatchPartners::size_of_batch(std::int64_t index) const {
  TORCH_CHECK(index >= 0 && index < batches_, "batch ", index, " of ", batches_);
  return std::min(batch_size_, rows_ - index * batch_size_);
}

void BatchPartners::begin_epoch(at::Device device, const std::function<at::Tensor(std::int64_t, std::int64_t)>& draw) {
  const at::Tensor table = at::zeros({batches_, batch_size_}, at::kLong);
  for (std::int64_t index = 0; index < batches_; ++index) {
    const std::int64_t size = size_of_batch(index);
    table.select(0, index).narrow(0, 0, size).copy_(draw(index, size));
  }
  upload(partners_, table, device);
}

at::Tensor BatchPartners::of(const at::Tensor& rows, std::int64_t index) const {
  TORCH_CHECK(partners_.defined(), "begin_epoch comes before the first batch");
  const std::int64_t size = size_of_batch(index);
  TORCH_CHECK(rows.size(0) == size, "batch ", index, " has ", size, " rows, not ", rows.size(0));
  return rows.index_select(0, partners_.select(0, index).narrow(0, 0, size));
}

Box cutmix_box(double factor, std::int64_t centre_x, std::int64_t centre_y, ImageSize size) {
  const double cut = std::sqrt(1 - factor);
  const Span x = cutmix_span(cut, centre_x, size.width), y = cutmix_span(cut, centre_y, size.height);
  return {x.begin, y.begin, x.end, y.end};
}

double cutmix_weight(const Box& box, ImageSize size) {
  return 1 - static_cast<double>(box.area()) / static_cast<double>(size.height * size.width);
}

Box cutout_box(std::int64_t side, std::int64_t centre_x, std::int64_t centre_y, ImageSize size) {
  const Span x = clipped(centre_x - side / 2, centre_x - side / 2 + side, size.width);
  const Span y = clipped(centre_y - side / 2, centre_y - side / 2 + side, size.height);
  return {x.begin, y.begin, x.end, y.end};
}

}  // namespace ekd

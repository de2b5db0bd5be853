#include "ekd/train/batch_stream.h"

#include <algorithm>

#include "ekd/augment/augmentation.h"
#include "ekd/data/load.h"

namespace ekd {
namespace {

std::unique_ptr<Augmentation> make_augmentation_in(AugmentationContext context, Precision precision) {
  context.image_dtype = image_dtype(precision);
  return make_augmentation(context);
}

}  // namespace

BatchStream::BatchStream(const AugmentationContext& context, std::vector<Teacher> teachers, Precision precision,
                         bool graph)
    : size_(context.train.size()),
      batch_size_(context.batch_size),
      seed_(context.seed),
      augmentation_(make_augmentation_in(context, precision)),
      teachers_(std::make_unique<TeacherPass>(std::move(teachers), precision, context.train.images.device(), graph)),
      device_(context.train.images.device()) {}

void BatchStream::begin_epoch(std::int64_t epoch) {
  order_ = epoch_order(size_, seed_, epoch).to(device_);
  augmentation_->begin_epoch(epoch);
}

Batch BatchStream::batch(std::int64_t step, const TeacherQuestions& questions) const {
  TORCH_CHECK(order_.defined() && step >= 0 && step < steps_per_epoch(), "no such step in the epoch");
  const std::int64_t begin = step * batch_size_;
  const std::int64_t count = std::min(batch_size_, size_ - begin);
  const at::Tensor rows = order_.narrow(0, begin, count);
  Batch batch = augmentation_->batch(rows, step);
  batch.indices = rows;
  batch.teachers = teachers_->answers(batch.images.narrow(0, 0, count), questions);
  return batch;
}

}  // namespace ekd

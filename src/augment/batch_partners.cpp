#include "ekd/augment/batch_partners.h"

#include <ATen/ops/zeros.h>

#include <algorithm>

#include "ekd/augment/plain_views.h"

namespace ekd {

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

at::Tensor BatchPartners::at(std::int64_t index, std::int64_t size) const {
  TORCH_CHECK(partners_.defined(), "begin_epoch comes before the first batch");
  TORCH_CHECK(size == size_of_batch(index), "batch ", index, " has ", size_of_batch(index), " rows, not ", size);
  return partners_.select(0, index).narrow(0, 0, size);
}

at::Tensor select_images(const at::Tensor& images, const at::Tensor& rows) {
  return images.permute({0, 2, 3, 1}).index_select(0, rows).permute({0, 3, 1, 2});
}

}  // namespace ekd

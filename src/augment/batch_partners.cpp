#include "augment/batch_partners.h"

#include <ATen/ops/zeros.h>

#include <algorithm>

#include "augment/plain_views.h"

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

at::Tensor BatchPartners::of(const at::Tensor& rows, std::int64_t index) const {
  TORCH_CHECK(partners_.defined(), "begin_epoch comes before the first batch");
  const std::int64_t size = size_of_batch(index);
  TORCH_CHECK(rows.size(0) == size, "batch ", index, " has ", size, " rows, not ", rows.size(0));
  return rows.index_select(0, partners_.select(0, index).narrow(0, 0, size));
}

}  // namespace ekd

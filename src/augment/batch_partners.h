// Partners drawn within a batch: for each batch of an epoch a permutation of it, kept on the device.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

namespace ekd {

class BatchPartners {
 public:
  // The epoch's batches have `batch_size` of the `rows` rows each, the last one what is left.
  BatchPartners(std::int64_t rows, std::int64_t batch_size);

  std::int64_t batches() const { return batches_; }
  std::int64_t size_of_batch(std::int64_t index) const;

  // draw(index, size): the permutation int64 [size], on the CPU.
  void begin_epoch(at::Device device, const std::function<at::Tensor(std::int64_t, std::int64_t)>& draw);

  // rows int64 [size_of_batch(index)], the index-th batch; returns each one's partner among them.
  at::Tensor of(const at::Tensor& rows, std::int64_t index) const;

 private:
  std::int64_t rows_, batch_size_, batches_;
  at::Tensor partners_;  // int64 [batches, batch_size]
};

}  // namespace ekd

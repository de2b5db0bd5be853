// The part that augmentations share: this epoch's base views, and batches made of them.
#pragma once

#include "ekd/augment/augmentation.h"
#include "ekd/core/random.h"
#include "ekd/kernels/view_map.h"

namespace ekd {

class PlainViews {
 public:
  PlainViews(const AugmentationContext& context, RandomStream stream);

  void begin_epoch(std::int64_t epoch);

  // The images at `rows` through the views drawn for `view_rows`; one-hot targets. int64 [B] both.
  Batch batch(const at::Tensor& rows, const at::Tensor& view_rows) const;
  Batch batch(const at::Tensor& rows) const { return batch(rows, rows); }

  // int32 [N, 9] (ViewParams), on the images' device.
  const at::Tensor& views() const { return views_; }

 private:
  AugmentationContext context_;
  RandomStream stream_;
  at::Tensor views_;
};

// The same as a 32-bit counter word.
std::uint32_t epoch_word(std::int64_t epoch);

// Puts drawn values on the device: into `table` itself where it has the same shape already, so that captured graphs
// keep reading the right place.
void upload(at::Tensor& table, const at::Tensor& drawn, at::Device device);

std::unique_ptr<Augmentation> make_none(const AugmentationContext& context);

}  // namespace ekd

// The parts that augmentations share: this epoch's base views, and a batch's labels and targets.
#pragma once

#include "ekd/augment/augmentation.h"
#include "ekd/core/random.h"
#include "ekd/kernels/views.h"

namespace ekd {

class PlainViews {
 public:
  PlainViews(const AugmentationContext& context, RandomStream stream);

  void begin_epoch(std::int64_t epoch);

  // The images at `rows` through the views drawn for `view_rows`; int64 [B] both.
  SeenImages seen(const at::Tensor& rows, const at::Tensor& view_rows) const;
  SeenImages seen(const at::Tensor& rows) const { return seen(rows, rows); }

 private:
  AugmentationContext context_;
  RandomStream stream_;
  at::Tensor views_;  // int32 [N, 9] (ViewParams), on the images' device
};

// A batch but for its images: labels and one-hot targets of the rows (int64 [B]).
Batch labelled_batch(const AugmentationContext& context, const at::Tensor& rows);

// weight · own + (1 - weight) · those of the images at `partners`; weight float32 [B or 1].
at::Tensor mixed_targets(const AugmentationContext& context, const at::Tensor& own, const at::Tensor& partners,
                         const at::Tensor& weight);

// The same as a 32-bit counter word.
std::uint32_t epoch_word(std::int64_t epoch);

// Puts drawn values on the device: into `table` itself where it has the same shape already, so that captured graphs
// keep reading the right place.
void upload(at::Tensor& table, const at::Tensor& drawn, at::Device device);

std::unique_ptr<Augmentation> make_none(const AugmentationContext& context);

}  // namespace ekd

// The parts that augmentations share: this epoch's base views, partners within a batch, boxes, a batch's labels and
// targets.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "ekd/augment/augmentation.h"
#include "ekd/augment/base_view.h"
#include "ekd/core/random.h"
#include "ekd/kernels/pixels.h"
#include "ekd/kernels/views.h"

namespace ekd {

// This epoch's base views of the training set.
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

// An epoch as a 32-bit counter word.
std::uint32_t epoch_word(std::int64_t epoch);

// Puts drawn values on the device: into `table` itself where it has the same shape already, so that captured graphs
// keep reading the right place.
void upload(at::Tensor& table, const at::Tensor& drawn, at::Device device);

std::unique_ptr<Augmentation> make_none(const AugmentationContext& context);

// Partners drawn within a batch: for each batch of an epoch a permutation of it, kept on the device.
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

// Boxes that CutMix pastes and Cutout blanks are clipped to the image. CutMix's has sides ⌊side √(1 - factor)⌋ of the
// image's own, with integer halves on both sides of the centre (Yun et al., 2019).
Box cutmix_box(double factor, std::int64_t centre_x, std::int64_t centre_y, ImageSize size);

// The image's own share of the target.
double cutmix_weight(const Box& box, ImageSize size);

// Cutout's: a square of `side` pixels from centre - ⌊side / 2⌋ on.
Box cutout_box(std::int64_t side, std::int64_t centre_x, std::int64_t centre_y, ImageSize size);

}  // namespace ekd

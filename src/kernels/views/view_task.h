// What the CPU and the CUDA driver of the views share: the arguments, and all work on one pixel: which bytes it shows,
// normalised, combined with another image in float32 with one rounding per operation, and rounded to the output's type.
#pragma once

#include <cstdint>

#include "ekd/kernels/host_device.h"
#include "ekd/kernels/pixels.h"

namespace ekd {

// What becomes of an image and its partner.
enum class Combination {
  kOwn,    // no partner
  kMix,    // factor · own + (1 - factor) · partner's
  kPaste,  // the partner's pixels inside the box
  kBlank,  // zeros of the normalised image inside the box; no partner
};

struct SeenRows {
  const std::int64_t* rows;       // [batch], of images; null: 0, 1, …
  const ViewParams* views;        // [M]; null: the image as it is
  const std::int64_t* view_rows;  // [batch], of views
  ViewOrder order;
};

struct ViewTask {
  const std::uint8_t* images;  // [N, channels, height, width]
  SeenRows own, partner;
  Combination combination;
  const float* factor;           // [1]
  const Box* boxes;              // [K]
  const std::int64_t* box_rows;  // [batch], of boxes; null: the first box for all
  void* out;                     // float or Bf16 [batch, height, width, channels]
  bool bf16;
  std::int64_t batch;
  PlanarShape shape;
  ChannelScale scale;
};

// One stored image and the view of it.
struct SeenImage {
  const std::uint8_t* planes;
  const ViewParams* view;  // null: as it is
  ViewOrder order;

  // Offset in a plane of what pixel `p` shows, or -1 for the zeros outside.
  EKD_HOST_DEVICE EKD_ALWAYS_INLINE int source(PlanarShape shape, Pixel p) const {
    return view ? view_source(*view, order, p, shape.width, shape.height) : p.y * shape.width + p.x;
  }
  EKD_HOST_DEVICE std::uint8_t byte(PlanarShape shape, int c, int source) const {
    return source < 0 ? std::uint8_t{0} : planes[c * shape.pixels() + source];
  }
};

EKD_HOST_DEVICE inline SeenImage seen_image(const ViewTask& task, const SeenRows& seen, std::int64_t b) {
  const std::int64_t row = seen.rows ? seen.rows[b] : b;
  return {task.images + row * task.shape.channels * task.shape.pixels(),
          seen.views ? seen.views + seen.view_rows[b] : nullptr, seen.order};
}

// What the b-th image of the batch is made of; members that kCombination has no use for are empty.
struct CombinedImage {
  SeenImage own, partner;
  float factor;
  Box box;
};

template <Combination kCombination>
EKD_HOST_DEVICE CombinedImage combined_image(const ViewTask& task, std::int64_t b) {
  CombinedImage image{};
  image.own = seen_image(task, task.own, b);
  if (kCombination == Combination::kMix || kCombination == Combination::kPaste)
    image.partner = seen_image(task, task.partner, b);
  if (kCombination == Combination::kMix) image.factor = *task.factor;
  if (kCombination == Combination::kPaste || kCombination == Combination::kBlank)
    image.box = task.boxes[task.box_rows ? task.box_rows[b] : 0];
  return image;
}

// Writes the channels of one pixel. values.normalised(c, byte): the float of a byte in channel c; values.rounded(c,
// byte): the same as a T.
template <Combination kCombination, class T, class Values>
EKD_HOST_DEVICE EKD_ALWAYS_INLINE void combined_pixel(const CombinedImage& image, PlanarShape shape, Pixel p,
                                                      const Values& values, T* out) {
  const bool boxed =
      (kCombination == Combination::kPaste || kCombination == Combination::kBlank) && covers(image.box, p);
  if (kCombination == Combination::kBlank && boxed) {
    for (int c = 0; c < shape.channels; ++c) out[c] = from_float<T>(0.0F);
    return;
  }
  const SeenImage& shown = kCombination == Combination::kPaste && boxed ? image.partner : image.own;
  const int source = shown.source(shape, p);
  const int mixed_source = kCombination == Combination::kMix ? image.partner.source(shape, p) : -1;
  for (int c = 0; c < shape.channels; ++c) {
    const std::uint8_t byte = shown.byte(shape, c, source);
    if (kCombination == Combination::kMix) {
      const float own = values.normalised(c, byte);
      const float other = values.normalised(c, image.partner.byte(shape, c, mixed_source));
      out[c] = from_float<T>(own * image.factor + other * (1.0F - image.factor));
    } else {
      out[c] = values.rounded(c, byte);
    }
  }
}

// Values for threads that have no table of them.
template <class T>
struct ComputedValues {
  const ChannelScale& scale;
  EKD_HOST_DEVICE float normalised(int c, std::uint8_t byte) const {
    return normalise(byte, scale.mean[c], scale.std[c]);
  }
  EKD_HOST_DEVICE T rounded(int c, std::uint8_t byte) const { return from_float<T>(normalised(c, byte)); }
};

// A GPU thread's work: the index-th pixel of the batch, if there is one.
template <Combination kCombination, class T>
EKD_HOST_DEVICE void view_thread(const ViewTask& task, std::int64_t index) {
  const int pixels = task.shape.pixels();
  if (index >= task.batch * pixels) return;
  const std::int64_t b = index / pixels;
  const int i = static_cast<int>(index - b * pixels);
  combined_pixel<kCombination>(combined_image<kCombination>(task, b), task.shape,
                               {i % task.shape.width, i / task.shape.width}, ComputedValues<T>{task.scale},
                               static_cast<T*>(task.out) + index * task.shape.channels);
}

// What a task leaves open until it runs, as types.
template <Combination kValue, class T>
struct ViewKind {
  static constexpr Combination kCombination = kValue;
  using Out = T;
};

template <class T, class F>
int with_combination(Combination combination, const F& f) {
  switch (combination) {
    case Combination::kOwn:
      return f(ViewKind<Combination::kOwn, T>{});
    case Combination::kMix:
      return f(ViewKind<Combination::kMix, T>{});
    case Combination::kPaste:
      return f(ViewKind<Combination::kPaste, T>{});
    case Combination::kBlank:
      return f(ViewKind<Combination::kBlank, T>{});
  }
  return 0;
}

// f(ViewKind) of the task.
template <class F>
int with_view_kind(const ViewTask& task, const F& f) {
  return task.bf16 ? with_combination<Bf16>(task.combination, f) : with_combination<float>(task.combination, f);
}

// Returns a cudaError_t; 0 is success.
int launch_views(const ViewTask& task, CudaStream stream);

}  // namespace ekd

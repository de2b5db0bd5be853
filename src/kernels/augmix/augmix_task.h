// One image's AugMix views, for the CPU and the CUDA driver: base view, two mixtures of chains of operations, mixed
// after normalising: (1 - m) x + m Σ w_i chain_i(x), in float32 and in this order; rounded to the output's type at
// last.
#pragma once

#include <cstdint>

#include "ekd/kernels/augmix_op.h"
#include "ekd/kernels/host_device.h"
#include "ekd/kernels/pixels.h"

namespace ekd {

constexpr int kAugmixMixtures = 2;
constexpr int kAugmixBuffers = 3;  // base view and two for the chain, each channels · height · width bytes

struct AugmixTask {
  const std::uint8_t* images;     // [N, channels, height, width]
  const std::int64_t* rows;       // [batch], of images and of everything drawn
  const ViewParams* views;        // [N]
  const std::int8_t* operations;  // [N, 2, width, depth], AugmixOp
  const double* amounts;          // [N, 2, width, depth]
  const float* weights;           // [N, 2, width + 1]: the chains' w, then m
  const Affine* rotations;        // [kRotations]
  void* out;                      // float or Bf16 [3, batch, height, width, channels]
  float* sums;                    // for the CUDA driver: [batch, height, width, channels] of scratch
  bool bf16;
  std::int64_t batch;
  PlanarShape shape;
  int chains, depth;
  ChannelScale scale;
};

// The float image of planes of bytes; f(offset, normalised value) for each of this worker's values.
EKD_TEAM_TEMPLATE
template <class Team, class F>
EKD_HOST_DEVICE void for_each_normalised(PlanarShape shape, const std::uint8_t* source, const NormaliseTable& table,
                                         const Team& team, const F& f) {
  const int pixels = shape.pixels();
  for (int i = team.rank(); i < pixels; i += team.size())
    for (int c = 0; c < shape.channels; ++c) f(i * shape.channels + c, table.value[c][source[c * pixels + i]]);
}

struct FirstTerm {
  float* sums;
  float weight;
  EKD_HOST_DEVICE void operator()(int i, float value) const { sums[i] = weight * value; }
};
struct NextTerm {
  float* sums;
  float weight;
  EKD_HOST_DEVICE void operator()(int i, float value) const { sums[i] += weight * value; }
};
template <class T>
struct WithClean {
  const float* sums;
  float mixed;  // share of the mixture
  T* out;
  EKD_HOST_DEVICE void operator()(int i, float value) const {
    out[i] = from_float<T>((1.0F - mixed) * value + mixed * sums[i]);
  }
};
template <class T>
struct Copy {
  T* out;
  EKD_HOST_DEVICE void operator()(int i, float value) const { out[i] = from_float<T>(value); }
};

// The image after a chain's operations: `base` itself, or one of the two buffers.
EKD_TEAM_TEMPLATE
template <class Team>
EKD_HOST_DEVICE const std::uint8_t* apply_chain(const AugmixTask& task, std::int64_t first, const std::uint8_t* base,
                                                std::uint8_t* buffers, AugmixScratch& scratch, const Team& team) {
  const std::uint8_t* image = base;
  const int bytes = task.shape.channels * task.shape.pixels();
  for (int d = 0; d < task.depth; ++d) {
    const AugmixOp op = static_cast<AugmixOp>(task.operations[first + d]);
    if (op == AugmixOp::kNone) break;
    std::uint8_t* target = image == buffers ? buffers + bytes : buffers;
    apply_augmix_op(op, task.amounts[first + d], task.rotations, task.shape, image, target, scratch, team);
    image = target;
  }
  return image;
}

// The b-th image's three views. `buffers`: kAugmixBuffers images of bytes that the team shares; `sums`: one of floats,
// of which each worker uses its own pixels only.
EKD_TEAM_TEMPLATE
template <class T, class Team>
EKD_HOST_DEVICE void augmix_image(const AugmixTask& task, std::int64_t b, std::uint8_t* buffers, float* sums,
                                  AugmixScratch& scratch, const NormaliseTable& table, const Team& team) {
  const PlanarShape shape = task.shape;
  const int pixels = shape.pixels(), bytes = shape.channels * pixels;
  const std::int64_t row = task.rows[b];
  const std::uint8_t* stored = task.images + row * bytes;
  std::uint8_t* base = buffers;
  for (int i = team.rank(); i < pixels; i += team.size()) {
    const int source = view_source(task.views[row], ViewOrder::kRotateFlipCrop, {i % shape.width, i / shape.width},
                                   shape.width, shape.height);
    for (int c = 0; c < shape.channels; ++c)
      base[c * pixels + i] = source < 0 ? std::uint8_t{0} : stored[c * pixels + source];
  }
  team.sync();
  for_each_normalised(shape, base, table, team, Copy<T>{static_cast<T*>(task.out) + b * bytes});

  for (int mixture = 0; mixture < kAugmixMixtures; ++mixture) {
    T* out = static_cast<T*>(task.out) + ((mixture + 1) * task.batch + b) * bytes;
    const std::int64_t drawn = row * kAugmixMixtures + mixture;
    const float* weights = task.weights + drawn * (task.chains + 1);
    for (int chain = 0; chain < task.chains; ++chain) {
      const std::int64_t first = (drawn * task.chains + chain) * task.depth;
      const std::uint8_t* image = apply_chain(task, first, base, buffers + bytes, scratch, team);
      if (chain == 0) {
        for_each_normalised(shape, image, table, team, FirstTerm{sums, weights[chain]});
      } else {
        for_each_normalised(shape, image, table, team, NextTerm{sums, weights[chain]});
      }
      team.sync();
    }
    for_each_normalised(shape, base, table, team, WithClean<T>{sums, weights[task.chains], out});
  }
}

// Returns a cudaError_t; 0 is success.
int launch_augmix(const AugmixTask& task, CudaStream stream);

}  // namespace ekd

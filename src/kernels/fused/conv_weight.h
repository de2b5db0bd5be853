// The gradient of a convolution (conv.h) by its weights: for each tap the product of the result's gradient, turned,
// with the input seen through the tap, both read as Operand says. A block goes over its share of the pixels, tile by
// tile, with 32 output and 32 input channels. A warp has a tap and a part of each tile's pixels; the parts' sums are
// added up in shared memory. At the end the block adds its sums in fixed point, beginning where other blocks do not.
#pragma once

#include "kernels/fused/conv.h"

namespace ekd {

constexpr int kWeightRows = 32, kWeightColumns = 32;  // output and input channels of a block and of each warp
constexpr int kBeginnings = 16;  // where blocks begin to add, so that not all add to the same sums at once

struct ConvWeightTask {
  PixelTiles tiles;  // of the result
  ConvWindow window;
  int groups, in, out;  // channels of a group
  Operand grad, input;
  Fixed* sums;  // [groups · out, taps, in]
  Fixed* bad;   // one number: how many sums were too large or no numbers
  int parts;    // blocks that share the pixels
  // By vectors in a row of a whole and of the last tile of output and of input channels, and by these channels.
  Divisor out_vectors[2], in_vectors[2], ins[2];

  EKD_HOST_DEVICE int taps() const { return window.kernel * window.kernel; }
  EKD_HOST_DEVICE int warps() const { return window.kernel == 1 ? 8 : 18; }
  EKD_HOST_DEVICE int grad_pitch() const { return shared_pitch(kWeightRows); }
  EKD_HOST_DEVICE int input_pitch() const { return shared_pitch(kWeightColumns); }
  EKD_HOST_DEVICE std::size_t grad_numbers() const { return static_cast<std::size_t>(tiles.pixels()) * grad_pitch(); }
  EKD_HOST_DEVICE std::size_t number_bytes() const {
    const std::size_t numbers =
        2 * (grad_numbers() + static_cast<std::size_t>(window.needed_pixels(tiles)) * input_pitch());
    // In their place, at the end, the warps' sums.
    const std::size_t products = 4 * static_cast<std::size_t>(warps()) * kWeightRows * kWeightColumns;
    return numbers > products ? numbers : products;
  }
  EKD_HOST_DEVICE std::size_t shared_bytes() const {
    return number_bytes() +
           4 * static_cast<std::size_t>(kCoefficients * (kWeightRows + kWeightColumns) + window.needed_pixels(tiles));
  }
  EKD_HOST_DEVICE int out_tiles() const { return (out + kWeightRows - 1) / kWeightRows; }
  EKD_HOST_DEVICE int in_tiles() const { return (in + kWeightColumns - 1) / kWeightColumns; }
};

// Blocks: x over parts, y over input and output channels, z over groups.
template <int kOutVector, int kInVector>  // numbers read at once, which divide the channels
struct ConvWeightKernel {
  static constexpr int kThreads = 18 * kWarp, kBlocksAtOnce = 1, kColumnTiles = kWeightColumns / 8;
  ConvWeightTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const int first_out = block.y() % task.out_tiles() * kWeightRows,
              first_in = block.y() / task.out_tiles() * kWeightColumns;
    const int outs = task.out - first_out < kWeightRows ? task.out - first_out : kWeightRows;
    const int ins = task.in - first_in < kWeightColumns ? task.in - first_in : kWeightColumns;
    const int out_channel = block.z() * task.out + first_out, in_channel = block.z() * task.in + first_in;
    auto* grad = reinterpret_cast<Bf16*>(block.shared());
    Bf16* input = grad + task.grad_numbers();
    auto* grad_coefficients = reinterpret_cast<float*>(block.shared() + task.number_bytes());
    float* input_coefficients = grad_coefficients + kCoefficients * kWeightRows;
    auto* table = reinterpret_cast<int*>(input_coefficients + kCoefficients * kWeightColumns);

    const int last_out = outs < kWeightRows ? 1 : 0, last_in = ins < kWeightColumns ? 1 : 0;
    if (last_out || last_in) fill_with_zeros(block, block.shared(), task.number_bytes());
    load_coefficients(block, task.grad, out_channel, outs, grad_coefficients);
    load_coefficients(block, task.input, in_channel, ins, input_coefficients);
    make_window_table(block, task.window, task.tiles, table);
    float products[2][kColumnTiles][4] = {};
    for (int tile = block.x(); tile < task.tiles.count(); tile += task.parts) {
      const TilePlace place = tile_place(task.tiles, tile);
      block.sync();  // coefficients and table are there; the last tile has been read
      load_rows_by<kOutVector>(block, task.grad, out_channel, outs, task.out_vectors[last_out], grad_coefficients,
                               task.tiles.pixels(), ResultMap{task.tiles, place}, grad, task.grad_pitch());
      load_rows_by<kInVector>(block, task.input, in_channel, ins, task.in_vectors[last_in], input_coefficients,
                              task.window.needed_pixels(task.tiles), WindowMap(task.window, task.tiles, place, table),
                              input, task.input_pitch());
      block.sync();
      multiply(block, grad, input, products);
    }
    block.sync();  // the last tile has been read
    put_warp_products(block, products, reinterpret_cast<float*>(block.shared()));
    block.sync();
    add_sums(block, first_out, first_in, outs, ins, reinterpret_cast<const float*>(block.shared()));
  }

 private:
  template <class Block>
  EKD_HOST_DEVICE void multiply(Block& block, const Bf16* grad, const Bf16* input,
                                float (&products)[2][kColumnTiles][4]) const {
    const int lane = block.thread() % kWarp, warp = block.thread() / kWarp;
    const int taps = task.taps(), tap = warp % taps, parts = task.warps() / taps;
    const int pitch = task.input_pitch();
    const Bf16* seen = input + (taps == 1 ? 0 : tap_offset(task.window, task.tiles, tap)) * pitch + lane / 16 * 8;
    const int grad_pixel = lane % 8 + lane / 16 * 8, input_pixel = lane % 16;
#pragma unroll 1
    for (int p = warp / taps * 16; p < task.tiles.pixels(); p += 16 * parts) {
      unsigned a[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m)
        block.load_matrices_transposed(a[m], grad + (p + grad_pixel) * task.grad_pitch() + m * 16 + lane / 8 % 2 * 8);
      const Bf16* row = seen + window_row(task.window, task.tiles, p + input_pixel) * pitch;
#pragma unroll
      for (int n = 0; n < kColumnTiles; n += 2) {
        unsigned b[4];
        block.load_matrices_transposed(b, row + n * 8);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          block.multiply_add(products[m][n], a[m], b[0], b[1]);
          block.multiply_add(products[m][n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  template <class Block>
  EKD_HOST_DEVICE void add_sums(Block& block, int first_out, int first_in, int outs, int ins, const float* sums) const {
    const int taps = task.taps(), lines = outs * taps, count = lines * ins;
    const Divisor& by_ins = task.ins[ins < kWeightColumns ? 1 : 0];
    int at = block.x() % kBeginnings * (count / kBeginnings) + block.thread();
    for (int done = block.thread(); done < count; done += block.threads()) {
      if (at >= count) at -= count;
      const int line = by_ins.quotient(at), in = by_ins.remainder(at, line);
      const int out = taps == 1 ? line : line / 9, tap = line - out * taps;
      const float* from = sums + out * kWeightColumns + in;
      float sum = 0;
      for (int warp = tap; warp < task.warps(); warp += taps) sum += from[warp * kWeightRows * kWeightColumns];
      add_fixed(block, sum, kGradientOne,
                task.sums + (static_cast<std::int64_t>(block.z() * task.out + first_out + out) * taps + tap) * task.in +
                    first_in + in,
                task.bad);
      at += block.threads();
    }
  }
};

// The same for a 1×1 convolution of stride 1, which computes little with each number it reads: so a block has all
// channels of a group, or one of `cuts` equal parts of the group's wider side, and reads them once. A warp makes 32 ×
// 48 channels of the products, or 48 × 32, from its share of each tile's pixels.
struct PointwiseWeightTask {
  int pixels, groups, in, out;  // channels of a group
  Operand grad, input;
  Fixed* sums;  // [groups · out, in]
  Fixed* bad;
  int parts;                             // blocks that share the tiles
  int cuts;                              // parts of the wider side
  int tile;                              // pixels of a tile
  Divisor out_vectors, in_vectors, ins;  // by vectors of a block's output and input channels, and by these

  EKD_HOST_DEVICE bool is_wide() const { return in > out; }
  EKD_HOST_DEVICE int outs() const { return is_wide() ? out : out / cuts; }  // of a block
  EKD_HOST_DEVICE int block_ins() const { return is_wide() ? in / cuts : in; }
  EKD_HOST_DEVICE int out_tiles() const { return is_wide() ? (outs() + 31) / 32 : (outs() + 47) / 48; }
  EKD_HOST_DEVICE int in_tiles() const { return is_wide() ? (block_ins() + 47) / 48 : (block_ins() + 31) / 32; }
  EKD_HOST_DEVICE int grad_pitch() const { return shared_pitch(outs()); }
  EKD_HOST_DEVICE int input_pitch() const { return shared_pitch(block_ins()); }
  EKD_HOST_DEVICE std::size_t number_bytes() const {
    // Fragments beyond the channels read what lies behind.
    const std::size_t numbers = 2 * (static_cast<std::size_t>(tile) * (grad_pitch() + input_pitch()) + 160);
    const std::size_t products = 4 * 8 * 32 * 48;  // in their place, at the end
    return numbers > products ? numbers : products;
  }
  EKD_HOST_DEVICE std::size_t shared_bytes() const {
    return number_bytes() + 4 * static_cast<std::size_t>(kCoefficients * (outs() + block_ins()));
  }
};

// Blocks: x over parts, y over cuts, z over groups.
template <bool kWide, int kOutVector, int kInVector>
struct PointwiseWeightKernel {
  static constexpr int kThreads = 8 * kWarp, kBlocksAtOnce = 2;
  static constexpr int kOutTiles = kWide ? 2 : 3, kInTiles = kWide ? 3 : 2;  // fragments of 16 that a warp has
  PointwiseWeightTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const int outs = task.outs(), ins = task.block_ins();
    const int first_out = kWide ? 0 : block.y() * outs, first_in = kWide ? block.y() * ins : 0;
    const int out_channel = block.z() * task.out + first_out, in_channel = block.z() * task.in + first_in;
    auto* grad = reinterpret_cast<Bf16*>(block.shared());
    Bf16* input = grad + task.tile * task.grad_pitch();
    auto* grad_coefficients = reinterpret_cast<float*>(block.shared() + task.number_bytes());
    float* input_coefficients = grad_coefficients + kCoefficients * outs;

    load_coefficients(block, task.grad, out_channel, outs, grad_coefficients);
    load_coefficients(block, task.input, in_channel, ins, input_coefficients);
    const int warp = block.thread() / kWarp, tiles = task.out_tiles() * task.in_tiles(), splits = 8 / tiles;
    const int warp_tile = warp % tiles, split = warp / tiles;
    const int warp_out = warp_tile % task.out_tiles() * (16 * kOutTiles),
              warp_in = warp_tile / task.out_tiles() * (16 * kInTiles);
    float products[kOutTiles][2 * kInTiles][4] = {};
    for (int begin = block.x() * task.tile; begin < task.pixels; begin += task.parts * task.tile) {
      const auto pixel = [&](int p) { return begin + p < task.pixels ? begin + p : -1; };
      block.sync();  // coefficients are there; the last tile has been read
      load_rows_by<kOutVector>(block, task.grad, out_channel, outs, task.out_vectors, grad_coefficients, task.tile,
                               pixel, grad, task.grad_pitch());
      load_rows_by<kInVector>(block, task.input, in_channel, ins, task.in_vectors, input_coefficients, task.tile, pixel,
                              input, task.input_pitch());
      block.sync();
      if (split < splits) multiply(block, split, splits, grad + warp_out, input + warp_in, products);
    }
    block.sync();  // the last tile has been read
    auto* sums = reinterpret_cast<float*>(block.shared());
    if (split < splits)
      put_sums(block, products, sums + (split * outs + warp_out) * ins + warp_in, outs - warp_out, ins - warp_in, ins);
    block.sync();
    add_sums(block, out_channel, first_in, outs, ins, splits, sums);
  }

 private:
  template <class Block>
  EKD_HOST_DEVICE void multiply(Block& block, int split, int splits, const Bf16* grad, const Bf16* input,
                                float (&products)[kOutTiles][2 * kInTiles][4]) const {
    const int lane = block.thread() % kWarp;
    const Bf16* columns = grad + (lane % 8 + lane / 16 * 8) * task.grad_pitch() + lane / 8 % 2 * 8;
    const Bf16* rows = input + lane % 16 * task.input_pitch() + lane / 16 * 8;
#pragma unroll 1
    for (int p = split * 16; p < task.tile; p += splits * 16) {
      unsigned a[kOutTiles][4];
#pragma unroll
      for (int m = 0; m < kOutTiles; ++m)
        block.load_matrices_transposed(a[m], columns + p * task.grad_pitch() + m * 16);
#pragma unroll
      for (int n = 0; n < kInTiles; ++n) {
        unsigned b[4];
        block.load_matrices_transposed(b, rows + p * task.input_pitch() + n * 16);
#pragma unroll
        for (int m = 0; m < kOutTiles; ++m) {
          block.multiply_add(products[m][2 * n], a[m], b[0], b[1]);
          block.multiply_add(products[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  // To [splits, outs, ins]; of the warp's channels there are so many.
  template <class Block>
  EKD_HOST_DEVICE void put_sums(Block& block, const float (&products)[kOutTiles][2 * kInTiles][4], float* to, int outs,
                                int ins, int pitch) const {
    const int lane = block.thread() % kWarp;
#pragma unroll
    for (int m = 0; m < kOutTiles; ++m)
#pragma unroll
      for (int n = 0; n < 2 * kInTiles; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int out = m * 16 + i / 2 * 8 + lane / 4, in = n * 8 + lane % 4 * 2 + i % 2;
          if (out < outs && in < ins) to[out * pitch + in] = products[m][n][i];
        }
  }

  template <class Block>
  EKD_HOST_DEVICE void add_sums(Block& block, int out_channel, int first_in, int outs, int ins, int splits,
                                const float* sums) const {
    const int count = outs * ins;
    int at = block.x() % kBeginnings * (count / kBeginnings) + block.thread();
    for (int done = block.thread(); done < count; done += kThreads) {
      if (at >= count) at -= count;
      const int out = task.ins.quotient(at), in = task.ins.remainder(at, out);
      float sum = 0;
      for (int split = 0; split < splits; ++split) sum += sums[split * count + at];
      add_fixed(block, sum, kGradientOne,
                task.sums + static_cast<std::int64_t>(out_channel + out) * task.in + first_in + in, task.bad);
      at += kThreads;
    }
  }
};

// Parts into which the wider side is cut so that a block's eight warps suffice; 0: there is no kernel for such
// channels.
inline int pointwise_weight_cuts(int in, int out) {
  const int longer = in > out ? in : out, shorter = in > out ? out : in;
  if (vector_of(in) < 4 || vector_of(out) < 4) return 0;
  for (int cuts = 1; longer % (8 * cuts) == 0 || cuts == 1; cuts *= 2)
    if ((longer / cuts + 47) / 48 * ((shorter + 31) / 32) <= 8) return cuts;
  return 0;
}

template <bool kWide, class Run>
auto run_pointwise_weight(const PointwiseWeightTask& task, const LaunchShape& shape, const Run& run) {
  const bool out8 = vector_of(task.outs()) == 8, in8 = vector_of(task.block_ins()) == 8;
  if (out8)
    return in8 ? run(PointwiseWeightKernel<kWide, 8, 8>{task}, shape)
               : run(PointwiseWeightKernel<kWide, 8, 4>{task}, shape);
  return in8 ? run(PointwiseWeightKernel<kWide, 4, 8>{task}, shape)
             : run(PointwiseWeightKernel<kWide, 4, 4>{task}, shape);
}
template <class Run>
auto run_fused(const PointwiseWeightTask& task, const Run& run) {
  const LaunchShape shape{task.parts, task.cuts, task.groups, 8 * kWarp, task.shared_bytes()};
  return task.is_wide() ? run_pointwise_weight<true>(task, shape, run) : run_pointwise_weight<false>(task, shape, run);
}

template <int kOutVector, class Run>
auto run_conv_weight(const ConvWeightTask& task, const LaunchShape& shape, const Run& run) {
  switch (vector_of(task.in)) {
    case 8:
      return run(ConvWeightKernel<kOutVector, 8>{task}, shape);
    case 4:
      return run(ConvWeightKernel<kOutVector, 4>{task}, shape);
    case 2:
      return run(ConvWeightKernel<kOutVector, 2>{task}, shape);
    default:
      return run(ConvWeightKernel<kOutVector, 1>{task}, shape);
  }
}
template <class Run>
auto run_fused(const ConvWeightTask& task, const Run& run) {
  const LaunchShape shape{task.parts, task.out_tiles() * task.in_tiles(), task.groups, task.warps() * kWarp,
                          task.shared_bytes()};
  switch (vector_of(task.out)) {
    case 8:
      return run_conv_weight<8>(task, shape, run);
    case 4:
      return run_conv_weight<4>(task, shape, run);
    default:
      return run_conv_weight<2>(task, shape, run);
  }
}

}  // namespace ekd

// Convolutions 1×1 and 3×3, grouped or not, channels_last, bfloat16 with float32 sums on tensor cores: forward and,
// with the weights turned, the gradient by the input. Each is one kernel from what came out of the convolution before
// to what the next one reads: normalisation with ReLU (or its gradient) is done to the input as it is read, and the
// sums that the next normalisation needs are taken of the result while it is in registers.
//
// A block makes a tile of pixels by n_tile output channels of a group. Its warps form a grid of four by two: each makes
// 16 · kRowTiles pixels of every second 16 channels. The input pixels of the tile lie in shared memory with their
// border, the weights a few taps at a time. The products go through shared memory too, so that the results are finished
// and written by whole vectors.
#pragma once

#include "kernels/fused/rows.h"

namespace ekd {

constexpr int kConvRowWarps = 4, kConvColumnWarps = 2, kConvThreads = kConvRowWarps * kConvColumnWarps * kWarp;
constexpr int kConvStages = 3;  // taps of a 3×3 convolution's weights that lie in shared memory at once

// Tiles of images × height × width pixels over a tensor of pixels; a tile's sides are powers of two, given by
// exponents.
struct PixelTiles {
  int images, height, width;  // of the tensor
  int image_bits, height_bits, width_bits;
  Divisor across_divisor, down_divisor;  // by across() and down()

  EKD_HOST_DEVICE int down() const { return (height + (1 << height_bits) - 1) >> height_bits; }
  EKD_HOST_DEVICE int across() const { return (width + (1 << width_bits) - 1) >> width_bits; }
  EKD_HOST_DEVICE int count() const { return ((images + (1 << image_bits) - 1) >> image_bits) * down() * across(); }
  EKD_HOST_DEVICE int pixels() const { return 1 << (image_bits + height_bits + width_bits); }
  EKD_HOST_DEVICE int x_of(int p) const { return p & ((1 << width_bits) - 1); }
  EKD_HOST_DEVICE int y_of(int p) const { return p >> width_bits & ((1 << height_bits) - 1); }
  EKD_HOST_DEVICE int image_of(int p) const { return p >> (width_bits + height_bits); }
};

// Where a tile begins.
struct TilePlace {
  int image, y, x;
};
EKD_HOST_DEVICE inline TilePlace tile_place(const PixelTiles& tiles, int tile) {
  if (tiles.images == 1 && tiles.height == 1) return {0, 0, tile << tiles.width_bits};
  const int row = tiles.across_divisor.quotient(tile), image = tiles.down_divisor.quotient(row);
  return {image << tiles.image_bits, tiles.down_divisor.remainder(row, image) << tiles.height_bits,
          tiles.across_divisor.remainder(tile, row) << tiles.width_bits};
}

// From the pixels of a tile of results to their places in the tensor, -1 beyond its end.
struct ResultMap {
  const PixelTiles& tiles;
  TilePlace place;

  EKD_HOST_DEVICE int operator()(int p) const {
    const int x = place.x + tiles.x_of(p), y = place.y + tiles.y_of(p), image = place.image + tiles.image_of(p);
    if (x >= tiles.width || y >= tiles.height || image >= tiles.images) return -1;
    return (image * tiles.height + y) * tiles.width + x;
  }
};

// How a convolution's result pixels see its input.
struct ConvWindow {
  int height, width;                // of the input
  int kernel, stride;               // kernel 1 or 3, padded by kernel / 2
  int spread;                       // 1: as if zeros lay between the input's pixels; else 0
  Divisor tile_width, tile_height;  // by what a tile needs

  // A tile of so many results needs this many rows (or columns) of input.
  EKD_HOST_DEVICE int needed(int results) const { return kernel == 1 ? results : (results - 1) * stride + 3; }
  EKD_HOST_DEVICE int needed_width(const PixelTiles& tiles) const { return needed(1 << tiles.width_bits); }
  EKD_HOST_DEVICE int needed_height(const PixelTiles& tiles) const { return needed(1 << tiles.height_bits); }
  EKD_HOST_DEVICE int needed_pixels(const PixelTiles& tiles) const {
    return (needed_height(tiles) * needed_width(tiles)) << tiles.image_bits;
  }
};

// The pixels of the input that a tile needs, as image, row and column from where the tile begins, in 32 bits: worked
// out once a block, since it takes divisions.
EKD_TEAM_TEMPLATE
template <class Block>
EKD_HOST_DEVICE inline void make_window_table(Block& block, const ConvWindow& window, const PixelTiles& tiles,
                                              int* table) {
  const int step = window.kernel == 1 ? window.stride : 1;
  for (int p = block.thread(); p < window.needed_pixels(tiles); p += block.threads()) {
    const int row = window.tile_width.quotient(p), image = window.tile_height.quotient(row);
    table[p] = image << 24 | window.tile_height.remainder(row, image) * step << 12 |
               window.tile_width.remainder(p, row) * step;
  }
}

// From those pixels to their places in the tensor, -1 for the border.
struct WindowMap {
  const ConvWindow& window;
  const int* table;
  int images, image, y, x;  // where the window begins; x and y may be negative

  EKD_HOST_DEVICE WindowMap(const ConvWindow& of, const PixelTiles& tiles, const TilePlace& place, const int* offsets)
      : window(of),
        table(offsets),
        images(tiles.images),
        image(place.image),
        y(place.y * of.stride - of.kernel / 2),
        x(place.x * of.stride - of.kernel / 2) {}

  EKD_HOST_DEVICE int operator()(int p) const {
    const int offset = table[p];
    const int column = x + (offset & 0xfff), row = y + (offset >> 12 & 0xfff), from = image + (offset >> 24);
    const bool outside = static_cast<unsigned>(column) >= static_cast<unsigned>(window.width << window.spread) ||
                         static_cast<unsigned>(row) >= static_cast<unsigned>(window.height << window.spread) ||
                         from >= images || ((column | row) & window.spread) != 0;
    if (outside) return -1;
    return (from * window.height + (row >> window.spread)) * window.width + (column >> window.spread);
  }
};

// The row of a tile's window that result pixel p sees through the first tap; the others lie tap_offset further.
EKD_HOST_DEVICE inline int window_row(const ConvWindow& window, const PixelTiles& tiles, int p) {
  if (window.kernel == 1) return p;
  return (tiles.image_of(p) * window.needed_height(tiles) + tiles.y_of(p) * window.stride) *
             window.needed_width(tiles) +
         tiles.x_of(p) * window.stride;
}
EKD_HOST_DEVICE inline int tap_offset(const ConvWindow& window, const PixelTiles& tiles, int tap) {
  return tap / 3 * window.needed_width(tiles) + tap % 3;
}

struct ConvTask {
  PixelTiles tiles;  // of the result
  ConvWindow window;
  int groups, in, out;  // channels of a group, of the input and the result
  Operand input;
  // bf16 [groups · out, taps, in], or with `turned` [groups · in, taps, out], whose taps are seen backwards.
  const Bf16* weight;
  bool turned;
  Bf16* y;
  const Bf16* added;  // null, or like y: added to the result; not to a gradient by max(normalised z, 0)
  Fixed* moments;     // null, or where the result's moments go
  // The result is the gradient by max(normalised z, 0), or, where that is given as `joined`, by max(normalised z + what
  // was added, 0): what ReLU lets through is kept, and its sums are taken.
  const Bf16 *z, *joined;  // null, or like y
  Norm norm;
  Fixed* slopes;
  int n_tile;                                       // a multiple of 16; it leaves as many channels for each block
  int in_vector, out_vector, weight_vector;         // numbers read at once
  Divisor in_vectors, out_vectors, weight_vectors;  // by vectors in a row of: the input, a block's results, the weights
  int stages;                                       // taps of the weights that lie in shared memory

  EKD_HOST_DEVICE int taps() const { return window.kernel * window.kernel; }
  EKD_HOST_DEVICE int input_pitch() const { return shared_pitch(in); }
  EKD_HOST_DEVICE int weight_rows() const { return turned ? padded16(in) : n_tile; }
  EKD_HOST_DEVICE int weight_pitch() const { return shared_pitch(turned ? n_tile : in); }
  EKD_HOST_DEVICE int stage_numbers() const { return weight_rows() * weight_pitch(); }
  EKD_HOST_DEVICE int result_pitch() const { return n_tile + 8; }  // floats
  // Shared memory, in this order: input, and in its place the products and then the columns' sums; weights; floats; the
  // window's table.
  EKD_HOST_DEVICE std::size_t input_bytes() const {
    const std::size_t numbers = 2 * static_cast<std::size_t>(window.needed_pixels(tiles)) * input_pitch();
    const std::size_t products = 4 * static_cast<std::size_t>(tiles.pixels()) * result_pitch();
    const std::size_t sums = 2 * 4 * 8 * kConvThreads;  // two of each of 8 channels of every thread, at most
    const std::size_t most = numbers > products ? numbers : products;
    return ((most > sums ? most : sums) + 15) & ~std::size_t{15};
  }
  EKD_HOST_DEVICE std::size_t number_bytes() const {
    return input_bytes() + 2 * static_cast<std::size_t>(stages) * stage_numbers();
  }
  EKD_HOST_DEVICE int mask_floats() const { return 3 * n_tile; }
  EKD_HOST_DEVICE std::size_t shared_bytes() const {
    return number_bytes() +
           4 * static_cast<std::size_t>(kCoefficients * in + mask_floats() + window.needed_pixels(tiles));
  }
  EKD_HOST_DEVICE int outs() const { return static_cast<int>(out_vectors.value) * out_vector; }  // of a block
  EKD_HOST_DEVICE int n_tiles() const { return out / outs(); }
};

// Blocks: x over tiles, y over output channels, z over groups.
template <int kRowTiles, int kPairs>
struct ConvKernel {
  static constexpr int kThreads = kConvThreads, kBlocksAtOnce = 3;
  ConvTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const int outs = task.outs(), first_out = block.y() * outs;  // within the group
    const int in_channel = block.z() * task.in, out_channel = block.z() * task.out + first_out;
    auto* input = reinterpret_cast<Bf16*>(block.shared());
    auto* results = reinterpret_cast<float*>(block.shared());
    auto* weights = reinterpret_cast<Bf16*>(block.shared() + task.input_bytes());
    auto* coefficients = reinterpret_cast<float*>(block.shared() + task.number_bytes());
    float* mask = coefficients + kCoefficients * task.in;
    auto* table = reinterpret_cast<int*>(mask + task.mask_floats());

    // Rows and columns of fragments beyond the channels.
    if (task.in % 16 != 0 || outs < task.n_tile) {
      fill_with_zeros(block, block.shared(), task.number_bytes());
      block.sync();
    }
    const int taps = task.taps(), open = task.stages == taps ? taps : kConvStages - 1;
    const WeightPlace weight_rows = weight_place(block);
    for (int tap = 0; tap < open; ++tap) begin_weights(block, weight_rows, tap, first_out, outs, weights);
    load_coefficients(block, task.input, in_channel, task.in, coefficients);
    if (task.z) load_mask(block, out_channel, outs, mask);
    make_window_table(block, task.window, task.tiles, table);
    block.sync();

    Sums sums{};
    const TilePlace place = tile_place(task.tiles, block.x());
    load_rows(block, task.in_vector, task.input, in_channel, task.in, task.in_vectors, coefficients,
              task.window.needed_pixels(task.tiles), WindowMap(task.window, task.tiles, place, table), input,
              task.input_pitch(), /*joins=*/task.input.joined && block.y() == 0);
    float products[kRowTiles][2 * kPairs][4] = {};
    const Bf16* rows[kRowTiles];  // the lane's, as the first tap sees them
    input_rows(block, input, rows);
    const int pitch = task.input_pitch(), to_next_line = (task.window.needed_width(task.tiles) - 2) * pitch;
    for (int tap = 0, column = 0, offset = 0, stage = 0; tap < taps; ++tap) {
      if (task.stages == taps) {
        if (tap == 0) {
          block.template wait_for_copies<0>();
          block.sync();
        }
      } else {
        block.template wait_for_copies<kConvStages - 2>();
        block.sync();
        begin_weights(block, weight_rows, tap + open, first_out, outs, weights);
      }
      multiply(block, offset, rows, weights + stage * task.stage_numbers(), products);
      if (++stage == task.stages) stage = 0;
      offset += column == 2 ? to_next_line : pitch;
      column = column == 2 ? 0 : column + 1;
    }
    block.sync();  // the input has been read
    put_products(block, products, results);
    block.sync();
    finish(block, place, out_channel, mask, results, sums);
    block.sync();  // the products have been read
    if (task.moments || task.z) add_sums(block, out_channel, outs, sums, results);
  }

 private:
  // Of the channels that a thread writes.
  struct Sums {
    float first[8], second[8];
  };

  // What a thread copies of every tap's weights: the rows row, row + step, … at a column.
  struct WeightPlace {
    int row, step, column;
  };
  template <class Block>
  EKD_HOST_DEVICE WeightPlace weight_place(Block& block) const {
    const int row = task.weight_vectors.quotient(block.thread());
    return {row, task.weight_vectors.quotient(kConvThreads),
            task.weight_vectors.remainder(block.thread(), row) * task.weight_vector};
  }

  template <int V, class Block>
  EKD_HOST_DEVICE void begin_rows(Block& block, const WeightPlace& place, int rows, const Bf16* from, int apart,
                                  Bf16* to) const {
    const int pitch = task.weight_pitch();
    from += place.row * apart + place.column;
    to += place.row * pitch + place.column;
    for (int row = place.row; row < rows; row += place.step) {
      if constexpr (V == 1)
        *to = *from;
      else
        block.template copy<2 * V>(to, from);
      from += place.step * apart;
      to += place.step * pitch;
    }
  }

  // One tap's weights: rows of numbers that lie one after another in memory. Closes a group of copies also where there
  // is no such tap: the groups are counted.
  template <class Block>
  EKD_HOST_DEVICE void begin_weights(Block& block, const WeightPlace& place, int tap, int first_out, int outs,
                                     Bf16* weights) const {
    const int taps = task.taps();
    if (tap < taps && place.row < place.step) {
      const int rows = task.turned ? task.in : outs, apart = taps * (task.turned ? task.out : task.in);
      const Bf16* from =
          task.weight +
          (task.turned
               ? static_cast<std::int64_t>(block.z()) * task.in * apart + (taps - 1 - tap) * task.out + first_out
               : static_cast<std::int64_t>(block.z() * task.out + first_out) * apart + tap * task.in);
      Bf16* to = weights + (task.stages == taps ? tap : tap % kConvStages) * task.stage_numbers();
      if (task.weight_vector == 8)
        begin_rows<8>(block, place, rows, from, apart, to);
      else if (task.weight_vector == 4)
        begin_rows<4>(block, place, rows, from, apart, to);
      else if (task.weight_vector == 2)
        begin_rows<2>(block, place, rows, from, apart, to);
      else
        begin_rows<1>(block, place, rows, from, apart, to);
    }
    block.close_copies();
  }

  template <class Block>
  EKD_HOST_DEVICE void load_mask(Block& block, int out_channel, int outs, float* mask) const {
    for (int c = block.thread(); c < outs; c += block.threads()) {
      const NormChannel channel = norm_channel(task.norm, out_channel + c);
      mask[c] = channel.scale;
      mask[task.n_tile + c] = channel.shift;
      mask[2 * task.n_tile + c] = channel.mean;
    }
  }

  // The first of the channels that pair `i` of the warp makes.
  template <class Block>
  EKD_HOST_DEVICE static int pair_channel(Block& block, int i) {
    return (block.thread() / kWarp % kConvColumnWarps + i * kConvColumnWarps) * 16;
  }
  template <class Block>
  EKD_HOST_DEVICE static int row_of(Block& block, int m) {
    return (block.thread() / kWarp / kConvColumnWarps * kRowTiles + m) * 16;
  }

  template <class Block>
  EKD_HOST_DEVICE void input_rows(Block& block, const Bf16* input, const Bf16* (&rows)[kRowTiles]) const {
    const int lane = block.thread() % kWarp;
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
      rows[m] = input + window_row(task.window, task.tiles, row_of(block, m) + lane % 16) * task.input_pitch() +
                lane / 16 * 8;
  }

  // products += the window's pixels seen through one tap, `offset` numbers behind the first, · its weights.
  template <class Block>
  EKD_HOST_DEVICE void multiply(Block& block, int offset, const Bf16* const (&rows)[kRowTiles], const Bf16* weights,
                                float (&products)[kRowTiles][2 * kPairs][4]) const {
    const int lane = block.thread() % kWarp, pitch = task.weight_pitch();
    // A lane's row of two neighbouring matrices [channels out, channels in], or turned.
    const Bf16* column = task.turned ? weights + (lane % 8 + lane / 8 % 2 * 8) * pitch + lane / 16 * 8
                                     : weights + (lane % 8 + lane / 16 * 8) * pitch + lane / 8 % 2 * 8;
    const int depth = padded16(task.in);
#pragma unroll 2
    for (int k = 0; k < depth; k += 16) {
      unsigned a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) block.load_matrices(a[m], rows[m] + offset + k);
#pragma unroll
      for (int i = 0; i < kPairs; ++i) {
        const int channel = pair_channel(block, i);
        if (channel >= task.n_tile) break;
        unsigned b[4];
        if (task.turned)
          block.load_matrices_transposed(b, column + k * pitch + channel);
        else
          block.load_matrices(b, column + channel * pitch + k);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          block.multiply_add(products[m][2 * i], a[m], b[0], b[1]);
          block.multiply_add(products[m][2 * i + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  // To [pixels, n_tile].
  template <class Block>
  EKD_HOST_DEVICE void put_products(Block& block, const float (&products)[kRowTiles][2 * kPairs][4], float* to) const {
    const int lane = block.thread() % kWarp, pitch = task.result_pitch();
#pragma unroll
    for (int i = 0; i < kPairs; ++i) {
      const int channel = pair_channel(block, i);
      if (channel >= task.n_tile) break;
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m)
#pragma unroll
        for (int n = 0; n < 2; ++n)
#pragma unroll
          for (int half = 0; half < 2; ++half)
            store_lanes<2>(Lanes<float, 2>{products[m][2 * i + n][half * 2], products[m][2 * i + n][half * 2 + 1]},
                           to + (row_of(block, m) + half * 8 + lane / 4) * pitch + channel + n * 8 + lane % 4 * 2);
    }
  }

  template <class Block>
  EKD_HOST_DEVICE void finish(Block& block, const TilePlace& place, int out_channel, const float* mask,
                              const float* results, Sums& sums) const {
    if (task.out_vector == 8)
      finish_by<8>(block, place, out_channel, mask, results, sums);
    else if (task.out_vector == 4)
      finish_by<4>(block, place, out_channel, mask, results, sums);
    else
      finish_by<2>(block, place, out_channel, mask, results, sums);
  }

  template <int V, class Block>
  EKD_HOST_DEVICE void finish_by(Block& block, const TilePlace& place, int out_channel, const float* mask,
                                 const float* results, Sums& sums) const {
    if (!task.z)
      finish_rows<V, Mask::kNone>(block, place, out_channel, mask, results, sums);
    else if (!task.joined)
      finish_rows<V, Mask::kOfNorm>(block, place, out_channel, mask, results, sums);
    else
      finish_rows<V, Mask::kOfJoined>(block, place, out_channel, mask, results, sums);
  }

  // Writes a tile's results, V channels at once, and adds to the sums of their columns.
  enum class Mask { kNone, kOfNorm, kOfJoined };
  template <int V, Mask kMask, class Block>
  EKD_HOST_DEVICE void finish_rows(Block& block, const TilePlace& place, int out_channel, const float* mask,
                                   const float* results, Sums& sums) const {
    const int step = task.out_vectors.quotient(kConvThreads), begin = task.out_vectors.quotient(block.thread());
    const int column = task.out_vectors.remainder(block.thread(), begin) * V;
    if (begin >= step) return;
    const ResultMap map{task.tiles, place};
    const float* scale = mask + column;  // then shift and mean
#pragma unroll 1
    for (int p = begin; p < task.tiles.pixels(); p += step) {
      const int pixel = map(p);
      if (pixel < 0) continue;
      const std::int64_t at = static_cast<std::int64_t>(pixel) * (task.groups * task.out) + out_channel + column;
      const float* product = results + p * task.result_pitch() + column;
      Packed<V> z{}, joined{}, added{}, out;
      if constexpr (kMask != Mask::kNone) z = load_packed<V>(task.z + at);
      if constexpr (kMask == Mask::kOfJoined) joined = load_packed<V>(task.joined + at);
      const bool adds = kMask != Mask::kOfNorm && task.added;
      if (adds) added = load_packed<V>(task.added + at);
#pragma unroll
      for (int w = 0; w < V / 2; ++w) {
        const Lanes<float, 2> pair = load_lanes<2>(product + 2 * w);
        float lower = pair.at[0], upper = pair.at[1];
        if (adds) {
          lower += lower_of(added.words.at[w]);
          upper += upper_of(added.words.at[w]);
        }
        float by_lower, by_upper;
        if constexpr (kMask == Mask::kOfJoined) {
          lower = relu_masked(lower_of(joined.words.at[w]), lower);
          upper = relu_masked(upper_of(joined.words.at[w]), upper);
        }
        if constexpr (kMask != Mask::kNone) {
          by_lower = lower_of(z.words.at[w]);
          by_upper = upper_of(z.words.at[w]);
          if constexpr (kMask == Mask::kOfNorm) {
            lower = relu_masked(bn_normalised(by_lower, {scale[2 * w], scale[task.n_tile + 2 * w]}), lower);
            upper = relu_masked(bn_normalised(by_upper, {scale[2 * w + 1], scale[task.n_tile + 2 * w + 1]}), upper);
          }
          by_lower -= scale[2 * task.n_tile + 2 * w];
          by_upper -= scale[2 * task.n_tile + 2 * w + 1];
        }
        out.words.at[w] = packed_pair(lower, upper);
        lower = lower_of(out.words.at[w]);
        upper = upper_of(out.words.at[w]);
        if constexpr (kMask == Mask::kNone) {
          by_lower = lower;
          by_upper = upper;
        }
        sums.first[2 * w] += lower;
        sums.first[2 * w + 1] += upper;
        sums.second[2 * w] = fmaf(lower, by_lower, sums.second[2 * w]);
        sums.second[2 * w + 1] = fmaf(upper, by_upper, sums.second[2 * w + 1]);
      }
      store_packed<V>(out, task.y + at);
    }
  }

  // The sums of the threads that write the same channels, and these to the totals.
  template <class Block>
  EKD_HOST_DEVICE void add_sums(Block& block, int out_channel, int outs, const Sums& sums, float* shared) const {
    const int step = task.out_vectors.quotient(kConvThreads), row = task.out_vectors.quotient(block.thread());
    const int vector = task.out_vector, column = task.out_vectors.remainder(block.thread(), row) * vector;
    if (row < step) {
#pragma unroll
      for (int v = 0; v < 8; ++v) {
        if (v >= vector) break;
        shared[2 * row * outs + column + v] = sums.first[v];
        shared[(2 * row + 1) * outs + column + v] = sums.second[v];
      }
    }
    block.sync();
    const int channels = task.groups * task.out;
    for (int at = block.thread(); at < 2 * outs; at += kConvThreads) {
      float sum = 0;
#pragma unroll 4
      for (int r = 0; r < step; ++r) sum += shared[2 * r * outs + at];
      const int which = at >= outs ? 1 : 0, c = out_channel + at - which * outs;
      if (task.z)
        add_fixed(block, sum, kGradientOne, task.slopes + (which == 0 ? kSlopeSum : kSlopeProduct) * channels + c,
                  task.slopes + kSlopeBad * channels + c);
      else
        add_fixed(block, sum, kMomentsOne, task.moments + (which == 0 ? kMomentSum : kMomentSquare) * channels + c,
                  task.moments + kMomentBad * channels + c);
    }
  }
};

// Calls run(kernel, shape) for the kernel that fits the task.
template <class Run>
auto run_fused(const ConvTask& task, const Run& run) {
  const LaunchShape shape{task.tiles.count(), task.n_tiles(), task.groups, kConvThreads, task.shared_bytes()};
  const bool large = task.tiles.pixels() == 2 * kConvRowWarps * 16;
  if (large) return task.n_tile <= 32 ? run(ConvKernel<2, 1>{task}, shape) : run(ConvKernel<2, 2>{task}, shape);
  if (task.n_tile <= 32) return run(ConvKernel<1, 1>{task}, shape);
  return task.n_tile <= 64 ? run(ConvKernel<1, 2>{task}, shape) : run(ConvKernel<1, 3>{task}, shape);
}

}  // namespace ekd

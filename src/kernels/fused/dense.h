// Dense 3×3 convolutions of wide residual networks over square images. They do what conv.h does, with sizes that are
// known when compiled, so that a lane's addresses are one base and constants; conv.h's kernel spends most of its
// instructions on addresses.
//
// A tile is 256 results that lie one after another in memory: eight rows of an image of 32, one image of 16, four of 8.
// A block makes a tile's results in 32 channels; it keeps the pixels that these see and all the weights in shared
// memory. Columns of the products are dealt to the lanes so that a lane's four pairs are eight neighbouring channels,
// which it finishes and writes at once.
#pragma once

#include "kernels/fused/rows.h"

namespace ekd {

constexpr int kDenseOuts = 32;     // channels of a block's results
constexpr int kDensePixels = 256;  // of a tile
constexpr int kTaps = 9;
static_assert(int{kMomentSum} == int{kSlopeSum} && int{kMomentSquare} == int{kSlopeProduct} &&
                  int{kMomentBad} == int{kSlopeBad},
              "both kinds of sums lie alike");

// Tiles over results [N, kWidth, kWidth], and the windows of input pixels that they see. With kSpread the input is seen
// as if zeros lay between its pixels, as the gradient of a convolution of stride 2 sees it.
template <int kWidth, int kStride = 1, bool kSpread = false>
struct DenseTile {
  static constexpr int kImagePixels = kWidth * kWidth;
  static constexpr int kRows = kImagePixels < kDensePixels ? kWidth : kDensePixels / kWidth;
  static constexpr int kImages = kDensePixels / (kRows * kWidth);  // 1, or as many whole ones
  static constexpr int kWindowWidth = (kWidth - 1) * kStride + 3, kWindowHeight = (kRows - 1) * kStride + 3;
  static constexpr int kWindowPixels = kImages * kWindowHeight * kWindowWidth;

  EKD_HOST_DEVICE static int count(int images) { return (images * kImagePixels + kDensePixels - 1) / kDensePixels; }
  // Where the window pixel that result p sees through the first tap lies; the others lie tap() further.
  EKD_HOST_DEVICE static constexpr int window_pixel(int p) {
    return (p / (kRows * kWidth) * kWindowHeight + p / kWidth % kRows * kStride) * kWindowWidth + p % kWidth * kStride;
  }
  EKD_HOST_DEVICE static constexpr int tap(int t) { return t / 3 * kWindowWidth + t % 3; }
  // The pixel of the input that is window pixel p of a tile, or -1 for the border and for zeros between pixels.
  EKD_HOST_DEVICE static int pixel(int tile, int p, int images) {
    constexpr int kTilesOfImage = kWidth / kRows, kSeen = kWidth * kStride, kSide = kSpread ? kSeen / 2 : kSeen;
    const int column = p % kWindowWidth - 1, line = p / kWindowWidth;
    const int image = tile / kTilesOfImage * kImages + line / kWindowHeight;
    const int row = tile % kTilesOfImage * (kRows * kStride) + line % kWindowHeight - 1;
    const bool inside = static_cast<unsigned>(column) < static_cast<unsigned>(kSeen) &&
                        static_cast<unsigned>(row) < static_cast<unsigned>(kSeen) && image < images &&
                        !(kSpread && ((column | row) & 1) != 0);
    return inside ? (image * kSide + (kSpread ? row / 2 : row)) * kSide + (kSpread ? column / 2 : column) : -1;
  }
};

// What is done to eight channels as they are read (Operand): nothing, normalisation and ReLU, or norm's gradient.
enum class Reading { kPlain, kNormalised, kGradient };

EKD_HOST_DEVICE inline Reading reading_of(const Operand& operand) {
  if (!operand.norm.is_there()) return Reading::kPlain;
  return operand.z ? Reading::kGradient : Reading::kNormalised;
}

template <Reading kReading>
struct EightChannels {
  struct Loaded {
    Packed<8> x, z;
  };
  float scale[8], by_z[8], constant[8];

  // From what load_coefficients has made of `count` channels.
  EKD_HOST_DEVICE EightChannels(const float* from, int count, int first) {
    if constexpr (kReading != Reading::kPlain) {
#pragma unroll
      for (int v = 0; v < 8; ++v) {
        scale[v] = from[first + v];
        if constexpr (kReading == Reading::kGradient) by_z[v] = from[count + first + v];
        constant[v] = from[2 * count + first + v];
      }
    }
  }
  EKD_HOST_DEVICE static Loaded load(const Operand& operand, int at) {
    Loaded loaded{};
    loaded.x = load_packed<8>(operand.x + at);
    if constexpr (kReading == Reading::kGradient) loaded.z = load_packed<8>(operand.z + at);
    return loaded;
  }
  EKD_HOST_DEVICE float made(float x, float z, int v) const {
    if constexpr (kReading == Reading::kGradient)
      return fmaf(x, scale[v], fmaf(z, by_z[v], constant[v]));
    else
      return at_least(fmaf(x, scale[v], constant[v]), 0);
  }
  EKD_HOST_DEVICE Packed<8> value(const Loaded& loaded) const {
    Packed<8> out = loaded.x;
    if constexpr (kReading != Reading::kPlain) {
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        const std::uint32_t x = loaded.x.words.at[w], z = loaded.z.words.at[w];
        out.words.at[w] = packed_pair(made(lower_of(x), lower_of(z), 2 * w), made(upper_of(x), upper_of(z), 2 * w + 1));
      }
    }
    return out;
  }
};

// A whole tile's vectors of eight channels, as many of them as threads at once; kVectors of them make a row.
template <Reading kReading, int kThreads, int kVectors, int kRows>
struct TileRows {
  static_assert(kThreads % kVectors == 0, "a thread keeps its channels");
  static constexpr int kStep = kThreads / kVectors;
  static constexpr int kTurns = (kRows + kStep - 1) / kStep;
  using Channels = EightChannels<kReading>;
  using Loaded = typename Channels::Loaded;

  EKD_HOST_DEVICE static int row(int thread, int turn) { return thread / kVectors + turn * kStep; }
  EKD_HOST_DEVICE static int column(int thread) { return thread % kVectors * 8; }

  // Turns begin, begin + 1, …; pixel(row) is a row's place in the tensor, or -1 for zeros.
  template <int kCount, class Pixel>
  EKD_HOST_DEVICE static void load(const Operand& operand, int first, int thread, int begin, const Pixel& pixel,
                                   Loaded (&loaded)[kCount], unsigned& there) {
    there = 0;
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      const int at = begin + k < kTurns && row(thread, begin + k) < kRows ? pixel(row(thread, begin + k)) : -1;
      if (at < 0) continue;
      loaded[k] = Channels::load(operand, at * operand.channels + first + column(thread));
      there |= 1u << k;
    }
  }
  // All turns by way of shared memory, where each thread has places of its own: `staged`, kStaged for all threads.
  static constexpr int kOperands = kReading == Reading::kGradient ? 2 : 1;
  static constexpr int kStaged = 8 * kThreads * kTurns * kOperands;
  template <class Block, class Pixel>
  EKD_HOST_DEVICE static void begin(Block& block, const Operand& operand, int first, const Pixel& pixel, Bf16* staged,
                                    unsigned& there) {
    there = 0;
    Bf16* to = staged + 8 * block.thread();
#pragma unroll
    for (int k = 0; k < kTurns; ++k) {
      const int at = row(block.thread(), k) < kRows ? pixel(row(block.thread(), k)) : -1;
      if (at < 0) continue;
      const int offset = at * operand.channels + first + column(block.thread());
      block.template copy<16>(to + 8 * kThreads * kOperands * k, operand.x + offset);
      if constexpr (kOperands == 2)
        block.template copy<16>(to + 8 * kThreads * (kOperands * k + 1), operand.z + offset);
      there |= 1u << k;
    }
  }
  EKD_HOST_DEVICE static void store_staged(const Channels& channels, const Bf16* staged, unsigned there, int thread,
                                           Bf16* to, int pitch) {
#pragma unroll
    for (int k = 0; k < kTurns; ++k) {
      if (row(thread, k) >= kRows) continue;
      Packed<8> out{};
      if ((there >> k & 1) != 0) {
        Loaded loaded;
        loaded.x = load_packed<8>(staged + 8 * (kThreads * kOperands * k + thread));
        if constexpr (kOperands == 2) loaded.z = load_packed<8>(staged + 8 * (kThreads * (kOperands * k + 1) + thread));
        out = channels.value(loaded);
      }
      store_packed<8>(out, to + row(thread, k) * pitch + column(thread));
    }
  }
  template <int kCount>
  EKD_HOST_DEVICE static void store(const Channels& channels, const Loaded (&loaded)[kCount], unsigned there,
                                    int thread, int begin, Bf16* to, int pitch) {
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      if (begin + k >= kTurns || row(thread, begin + k) >= kRows) continue;
      store_packed<8>(there >> k & 1 ? channels.value(loaded[k]) : Packed<8>{},
                      to + row(thread, begin + k) * pitch + column(thread));
    }
  }
};

struct DenseTask {
  int images, in, out, width;  // width: of the result
  int stride;                  // 1 or 2; of the convolution, also where this is its gradient
  Operand input;
  const Bf16* weight;  // [out, taps, in], or for the gradient [in, taps, out]
  Bf16* y;
  // Forward: `added` (null, or like y) is added, and `moments` (or null) gets the result's. Else the result is the
  // gradient by max(normalised z, 0), whose sums go to `slopes`, and the weights are turned.
  const Bf16* added;
  Fixed* moments;
  const Bf16* z;  // null: forward
  Norm norm;
  Fixed* slopes;
};

// Blocks: x over tiles, y over output channels.
template <int kIn, int kOut, class Tile, Reading kReading, bool kTurned>
struct DenseKernel {
  static constexpr int kPitch = kIn + 8;  // of the window, in numbers: an odd number of 16 bytes, as below
  // Weights: [outs, taps, in], or turned [in, taps, outs].
  static constexpr int kWeightPitch = kTurned ? kDenseOuts + 8 : kTaps * kIn + 8;
  static constexpr int kWeightRows = kTurned ? kTaps * kIn : kDenseOuts;
  static constexpr int kWindowBytes = 2 * Tile::kWindowPixels * kPitch;
  static constexpr int kWeightBytes = 2 * kWeightRows * kWeightPitch;
  static constexpr int kSharedBytes = kWindowBytes + kWeightBytes + 4 * (kCoefficients * kIn + 3 * kDenseOuts);
  static constexpr int kThreads = 256;
  static constexpr int kBlocksAtOnce = kSharedBytes <= 56 << 10 ? kTurned ? 3 : 4 : kSharedBytes <= 112 << 10 ? 2 : 1;
  static constexpr int kWarps = kThreads / kWarp, kRowTiles = kDensePixels / kWarps / 16, kPairs = kDenseOuts / 16;
  using Rows = TileRows<kReading, kThreads, kIn / 8, Tile::kWindowPixels>;
  // Loads in flight together.
  static constexpr int kMostAtOnce = (kBlocksAtOnce == 1 ? 13 : 6) / (kReading == Reading::kGradient ? 2 : 1);
  static constexpr int kParts = (Rows::kTurns + kMostAtOnce - 1) / kMostAtOnce;
  static constexpr int kAtOnce = (Rows::kTurns + kParts - 1) / kParts;

  DenseTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const int first = block.y() * kDenseOuts, tile = block.x();
    auto* window = reinterpret_cast<Bf16*>(block.shared());
    auto* weights = reinterpret_cast<Bf16*>(block.shared() + kWindowBytes);
    auto* coefficients = reinterpret_cast<float*>(block.shared() + kWindowBytes + kWeightBytes);
    float* mask = coefficients + kCoefficients * kIn;  // scale, shift, mean

    begin_weights(block, first, weights);
    const auto pixel = [&](int p) { return Tile::pixel(tile, p, task.images); };
    typename Rows::Loaded loaded[kAtOnce];
    unsigned there;
    Rows::load(task.input, 0, block.thread(), 0, pixel, loaded, there);
    load_coefficients(block, task.input, 0, kIn, coefficients);
    if (kTurned) load_mask(block, first, mask);
    block.sync();
    const typename Rows::Channels channels(coefficients, kIn, Rows::column(block.thread()));
    Rows::store(channels, loaded, there, block.thread(), 0, window, kPitch);
#pragma unroll 1
    for (int turn = kAtOnce; turn < Rows::kTurns; turn += kAtOnce) {
      Rows::load(task.input, 0, block.thread(), turn, pixel, loaded, there);
      Rows::store(channels, loaded, there, block.thread(), turn, window, kPitch);
    }
    block.template wait_for_copies<0>();
    block.sync();

    float products[kRowTiles][2 * kPairs][4] = {};
    multiply(block, window, weights, products);
    float sums[16] = {};  // of eight channels: of the results, and of their products with what norm wants
    finish(block, tile, first, mask, products, sums);
    block.sync();  // the window has been read
    add_sums(block, first, sums, reinterpret_cast<float*>(window));
  }

 private:
  // Channel 8t + 2j + e of a block stands in column 2t + e of fragment j.
  EKD_HOST_DEVICE static constexpr int place_of(int channel) {
    return channel % 8 / 2 * 8 + channel / 8 * 2 + channel % 2;
  }

  template <class Block>
  EKD_HOST_DEVICE void begin_weights(Block& block, int first, Bf16* weights) const {
    if constexpr (kTurned) {
      // Pairs, since neighbouring pairs go to different places.
      constexpr int kStep = kThreads / (kDenseOuts / 2);
      const int pair = block.thread() % (kDenseOuts / 2) * 2, row = block.thread() / (kDenseOuts / 2);
      const Bf16* from = task.weight + row * kOut + first + pair;
      Bf16* to = weights + row * kWeightPitch + place_of(pair);
      if (pair < kOut - first) {
#pragma unroll 6
        for (int i = 0; i < kWeightRows / kStep; ++i)
          block.template copy<4>(to + i * kStep * kWeightPitch, from + i * kStep * kOut);
      }
    } else {
      constexpr int kOfRow = kThreads / kDenseOuts, kVectors = kTaps * kIn / 8;
      const int row = block.thread() / kOfRow, vector = block.thread() % kOfRow;
      const Bf16* from = task.weight + (first + row) * kTaps * kIn + vector * 8;
      Bf16* to = weights + place_of(row) * kWeightPitch + vector * 8;
#pragma unroll
      for (int i = 0; i < (kVectors + kOfRow - 1) / kOfRow; ++i)
        if (vector + i * kOfRow < kVectors) block.template copy<16>(to + i * kOfRow * 8, from + i * kOfRow * 8);
    }
    block.close_copies();
  }

  template <class Block>
  EKD_HOST_DEVICE void load_mask(Block& block, int first, float* mask) const {
    if (block.thread() >= kDenseOuts || first + block.thread() >= kOut) return;
    const NormChannel channel = norm_channel(task.norm, first + block.thread());
    mask[block.thread()] = channel.scale;
    mask[kDenseOuts + block.thread()] = channel.shift;
    mask[2 * kDenseOuts + block.thread()] = channel.mean;
  }

  template <class Block>
  EKD_HOST_DEVICE static int first_pixel(Block& block) {
    return block.thread() / kWarp * (16 * kRowTiles);
  }

  template <class Block>
  EKD_HOST_DEVICE void multiply(Block& block, const Bf16* window, const Bf16* weights,
                                float (&products)[kRowTiles][2 * kPairs][4]) const {
    const int lane = block.thread() % kWarp;
    const Bf16* rows[kRowTiles];
#pragma unroll
    for (int m = 0; m < kRowTiles; ++m)
      rows[m] = window + Tile::window_pixel(first_pixel(block) + m * 16 + lane % 16) * kPitch + lane / 16 * 8;
    const Bf16* columns = weights + (kTurned ? (lane % 8 + lane / 8 % 2 * 8) * kTaps * kWeightPitch + lane / 16 * 8
                                             : (lane % 8 + lane / 16 * 8) * kWeightPitch + lane / 8 % 2 * 8);
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap)
#pragma unroll
      for (int k = 0; k < kIn; k += 16) {
        unsigned a[kRowTiles][4];
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) block.load_matrices(a[m], rows[m] + Tile::tap(tap) * kPitch + k);
#pragma unroll
        for (int i = 0; i < kPairs; ++i) {
          unsigned b[4];
          if constexpr (kTurned)
            block.load_matrices_transposed(b, columns + (k * kTaps + kTaps - 1 - tap) * kWeightPitch + i * 16);
          else
            block.load_matrices(b, columns + i * 16 * kWeightPitch + tap * kIn + k);
#pragma unroll
          for (int m = 0; m < kRowTiles; ++m) {
            block.multiply_add(products[m][2 * i], a[m], b[0], b[1]);
            block.multiply_add(products[m][2 * i + 1], a[m], b[2], b[3]);
          }
        }
      }
  }

  // Writes the results. A lane has channels 8 · (lane % 4), … of pixels lane / 4, lane / 4 + 8, ….
  template <class Block>
  EKD_HOST_DEVICE void finish(Block& block, int tile, int first, const float* mask,
                              const float (&products)[kRowTiles][2 * kPairs][4], float (&sums)[16]) const {
    const int lane = block.thread() % kWarp, column = lane % 4 * 8;
    if (kOut % kDenseOuts != 0 && first + column >= kOut) return;
    const int begin = tile * kDensePixels + first_pixel(block) + lane / 4, end = task.images * Tile::kImagePixels;
    const int at = begin * kOut + first + column;
    const Bf16* beside = kTurned ? task.z : task.added;  // read at the results' places
    mask += column;
    constexpr int kTogether = kBlocksAtOnce == 3   ? 1
                              : kBlocksAtOnce == 4 ? 2
                                                   : 2 * kRowTiles;  // loads in flight together
    Packed<8> other[2 * kRowTiles];
#pragma unroll
    for (int r = 0; r < 2 * kRowTiles; ++r) {
#pragma unroll
      for (int next = r; r % kTogether == 0 && next < r + kTogether; ++next) {
        other[next] = {};
        if (beside && begin + next * 8 < end) other[next] = load_packed<8>(beside + at + next * 8 * kOut);
      }
      if (begin + r * 8 >= end) continue;
      Packed<8> out;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float lower = products[r / 2][j][r % 2 * 2], upper = products[r / 2][j][r % 2 * 2 + 1];
        float by_lower = lower_of(other[r].words.at[j]), by_upper = upper_of(other[r].words.at[j]);
        if constexpr (kTurned) {
          const auto scale = load_lanes<2>(mask + 2 * j), shift = load_lanes<2>(mask + kDenseOuts + 2 * j),
                     mean = load_lanes<2>(mask + 2 * kDenseOuts + 2 * j);
          lower = relu_masked(bn_normalised(by_lower, {scale.at[0], shift.at[0]}), lower);
          upper = relu_masked(bn_normalised(by_upper, {scale.at[1], shift.at[1]}), upper);
          by_lower -= mean.at[0];
          by_upper -= mean.at[1];
        } else {
          lower += by_lower;
          upper += by_upper;
        }
        const std::uint32_t word = out.words.at[j] = packed_pair(lower, upper);
        lower = lower_of(word);
        upper = upper_of(word);
        if constexpr (!kTurned) {
          by_lower = lower;
          by_upper = upper;
        }
        sums[2 * j] += lower;
        sums[2 * j + 1] += upper;
        sums[8 + 2 * j] = fmaf(lower, by_lower, sums[8 + 2 * j]);
        sums[8 + 2 * j + 1] = fmaf(upper, by_upper, sums[8 + 2 * j + 1]);
      }
      store_packed<8>(out, task.y + at + r * 8 * kOut);
    }
  }

  // The lanes that have the same channels add up their sums, each of them two of the sixteen, then the warps.
  template <class Block>
  EKD_HOST_DEVICE void add_sums(Block& block, int first, float (&sums)[16], float* shared) const {
    if (!task.moments && !task.slopes) return;
    const int lane = block.thread() % kWarp;
#pragma unroll
    for (int halving = 0; halving < 3; ++halving) {
      const int mask = 16 >> halving;
      const bool upper = (lane & mask) != 0;
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const int count = 8 >> halving;
        if (i >= count) break;
        const float kept = upper ? sums[count + i] : sums[i], given = upper ? sums[i] : sums[count + i];
        sums[i] = kept + block.exchange(given, mask);
      }
    }
    const int which = lane / 16, channel = lane % 4 * 8 + lane / 8 % 2 * 4 + lane / 4 % 2 * 2;
    float* to = shared + (block.thread() / kWarp * 2 + which) * kDenseOuts + channel;
    to[0] = sums[0];
    to[1] = sums[1];
    block.sync();
    if (block.thread() >= 2 * kDenseOuts || first + block.thread() % kDenseOuts >= kOut) return;
    float sum = 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) sum += shared[warp * 2 * kDenseOuts + block.thread()];
    const int second = block.thread() / kDenseOuts, c = first + block.thread() % kDenseOuts;
    Fixed* totals = kTurned ? task.slopes : task.moments;
    add_fixed(block, sum, kTurned ? kGradientOne : kMomentsOne,
              totals + (second ? int{kMomentSquare} : int{kMomentSum}) * kOut + c, totals + int{kMomentBad} * kOut + c);
  }
};

// The gradient by the weights, of convolutions of stride 1. A block goes over its share of the tiles with 32 channels
// of the results' gradient and some of the input; a warp has a tap and half of each tile's pixels. Three tiles are in
// work: one is multiplied; the next is made from what has been loaded, by half of the warps before and by the others
// after their products; the one after that is being loaded.
struct DenseWeightTask {
  int images, in, out, width;
  Operand grad, input;
  Fixed* sums;  // [out, taps, in]
  Fixed* bad;   // one number: how many sums were too large or no numbers
  int parts;    // blocks that share the tiles
};

// Blocks: x over parts, y over kIns input channels within kDenseOuts output channels.
template <int kIns, class Tile, Reading kGradReading, Reading kInputReading>
struct DenseWeightKernel {
  static constexpr int kWarps = 2 * kTaps, kThreads = kWarps * kWarp, kBlocksAtOnce = 1;
  static constexpr int kOuts = kDenseOuts, kGradPitch = kOuts + 8, kInputPitch = kIns + 8;
  static constexpr int kGradNumbers = kDensePixels * kGradPitch;
  static constexpr int kTileNumbers = kGradNumbers + Tile::kWindowPixels * kInputPitch;
  static constexpr int kTileBytes = 2 * 2 * kTileNumbers;      // of two
  static constexpr int kSumBytes = 4 * kWarps * kOuts * kIns;  // in their place, at the end
  static constexpr int kNumberBytes = kTileBytes > kSumBytes ? kTileBytes : kSumBytes;
  using Grads = TileRows<kGradReading, kThreads, kOuts / 8, kDensePixels>;
  using Inputs = TileRows<kInputReading, kThreads, kIns / 8, Tile::kWindowPixels>;
  static constexpr int kStagedBytes = 2 * (Grads::kStaged + Inputs::kStaged);
  static constexpr int kSharedBytes = kNumberBytes + kStagedBytes + 4 * kCoefficients * (kOuts + kIns);

  DenseWeightTask task;

  EKD_TEAM_TEMPLATE
  template <class Block>
  EKD_HOST_DEVICE void operator()(Block& block) const {
    const int tiles_in = task.in / kIns, thread = block.thread(), tiles = Tile::count(task.images);
    const int first_out = block.y() / tiles_in * kOuts, first_in = block.y() % tiles_in * kIns;
    auto* numbers = reinterpret_cast<Bf16*>(block.shared());
    auto* staged_grads = reinterpret_cast<Bf16*>(block.shared() + kNumberBytes);
    Bf16* staged_inputs = staged_grads + Grads::kStaged;
    auto* grad_coefficients = reinterpret_cast<float*>(block.shared() + kNumberBytes + kStagedBytes);
    float* input_coefficients = grad_coefficients + kCoefficients * kOuts;

    unsigned grads_there = 0, inputs_there = 0;
    const auto begin = [&](int tile) {
      if (tile >= tiles) return;
      const auto result = [&](int p) {
        const int pixel = tile * kDensePixels + p;
        return pixel < task.images * Tile::kImagePixels ? pixel : -1;
      };
      const auto seen = [&](int p) { return Tile::pixel(tile, p, task.images); };
      Grads::begin(block, task.grad, first_out, result, staged_grads, grads_there);
      Inputs::begin(block, task.input, first_in, seen, staged_inputs, inputs_there);
      block.close_copies();
    };
    const auto make = [&](int tile, Bf16* to) {
      if (tile >= tiles) return;
      block.template wait_for_copies<0>();
      Grads::store_staged(typename Grads::Channels(grad_coefficients, kOuts, Grads::column(thread)), staged_grads,
                          grads_there, thread, to, kGradPitch);
      Inputs::store_staged(typename Inputs::Channels(input_coefficients, kIns, Inputs::column(thread)), staged_inputs,
                           inputs_there, thread, to + kGradNumbers, kInputPitch);
      begin(tile + task.parts);
    };
    begin(block.x());
    load_coefficients(block, task.grad, first_out, kOuts, grad_coefficients);
    load_coefficients(block, task.input, first_in, kIns, input_coefficients);
    block.sync();
    make(block.x(), numbers);
    block.sync();
    float products[2][kIns / 8][4] = {};
    int now = 0;  // where the present tile lies
#pragma unroll 1
    for (int tile = block.x(); tile < tiles; tile += task.parts) {
#pragma unroll 1
      for (int turn = 0; turn < 2; ++turn) {
        if (turn == thread / (kTaps * kWarp))
          make(tile + task.parts, numbers + kTileNumbers - now);
        else
          multiply(block, numbers + now, products);
      }
      block.sync();
      now = kTileNumbers - now;
    }
    auto* sums = reinterpret_cast<float*>(block.shared());
    put_warp_products(block, products, sums);  // [warps, channels out, channels in]
    block.sync();
    add_sums(block, first_out, first_in, sums);
  }

 private:
  template <class Block>
  EKD_HOST_DEVICE void multiply(Block& block, const Bf16* grad, float (&products)[2][kIns / 8][4]) const {
    const int lane = block.thread() % kWarp, warp = block.thread() / kWarp, tap = warp % kTaps;
    const int first = warp / kTaps * (kDensePixels / 2);
    const Bf16* columns = grad + (first + lane % 8 + lane / 16 * 8) * kGradPitch + lane / 8 % 2 * 8;
    const Bf16* rows =
        grad + kGradNumbers + (Tile::window_pixel(first + lane % 16) + Tile::tap(tap)) * kInputPitch + lane / 16 * 8;
#pragma unroll
    for (int p = 0; p < kDensePixels / 2; p += 16) {
      unsigned a[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) block.load_matrices_transposed(a[m], columns + p * kGradPitch + m * 16);
#pragma unroll
      for (int n = 0; n < kIns / 8; n += 2) {
        unsigned b[4];
        block.load_matrices_transposed(b, rows + Tile::window_pixel(p) * kInputPitch + n * 8);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          block.multiply_add(products[m][n], a[m], b[0], b[1]);
          block.multiply_add(products[m][n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  // A warp adds every second channel out of its tap; blocks begin at different ones.
  template <class Block>
  EKD_HOST_DEVICE void add_sums(Block& block, int first_out, int first_in, const float* sums) const {
    const int lane = block.thread() % kWarp, warp = block.thread() / kWarp, tap = warp % kTaps;
    if (lane >= kIns) return;
#pragma unroll 4
    for (int i = 0; i < kOuts / 2; ++i) {
      const int out = (i + block.x()) % (kOuts / 2) * 2 + warp / kTaps;
      const float* from = sums + (tap * kOuts + out) * kIns + lane;
      add_fixed(block, from[0] + from[kTaps * kOuts * kIns], kGradientOne,
                task.sums + (static_cast<std::int64_t>(first_out + out) * kTaps + tap) * task.in + first_in + lane,
                task.bad);
    }
  }
};

// Whether there are kernels for such a convolution, with results so wide.
inline bool dense_takes(int in, int out, int width, int stride) {
  if (stride == 2) return (in == 32 && out == 64 && width == 16) || (in == 64 && out == 128 && width == 8);
  return (out == 32 && (in == 32 || in == 16) && width == 32) || (in == 64 && out == 64 && width == 16) ||
         (in == 128 && out == 128 && width == 8);
}
constexpr int kDenseWidths[] = {32, 16, 8};           // the widths of their results
constexpr std::size_t kDenseSharedBytes = 208 << 10;  // what their blocks take of shared memory, at most

// Calls run(kernel, shape) for the kernel that fits the task.
template <int kIn, int kOut, class Tile, Reading kReading, bool kTurned, class Run>
auto run_dense(const DenseTask& task, const Run& run) {
  using Kernel = DenseKernel<kIn, kOut, Tile, kReading, kTurned>;
  static_assert(Kernel::kSharedBytes <= kDenseSharedBytes);
  return run(Kernel{task}, LaunchShape{Tile::count(task.images), (kOut + kDenseOuts - 1) / kDenseOuts, 1,
                                       Kernel::kThreads, Kernel::kSharedBytes});
}
template <int kIn, int kOut, class Tile, class Run>
auto run_dense_forward(const DenseTask& task, const Run& run) {
  return reading_of(task.input) == Reading::kNormalised
             ? run_dense<kIn, kOut, Tile, Reading::kNormalised, false>(task, run)
             : run_dense<kIn, kOut, Tile, Reading::kPlain, false>(task, run);
}
template <int kIn, int kOut, class Tile, class Run>
auto run_dense_gradient(const DenseTask& task, const Run& run) {
  return reading_of(task.input) == Reading::kGradient ? run_dense<kIn, kOut, Tile, Reading::kGradient, true>(task, run)
                                                      : run_dense<kIn, kOut, Tile, Reading::kPlain, true>(task, run);
}
template <class Run>
auto run_fused(const DenseTask& task, const Run& run) {
  if (task.z) {
    if (task.stride == 2)
      return task.in == 64 ? run_dense_gradient<64, 32, DenseTile<32, 1, true>>(task, run)
                           : run_dense_gradient<128, 64, DenseTile<16, 1, true>>(task, run);
    if (task.in == 32)
      return task.out == 16 ? run_dense_gradient<32, 16, DenseTile<32>>(task, run)
                            : run_dense_gradient<32, 32, DenseTile<32>>(task, run);
    return task.in == 64 ? run_dense_gradient<64, 64, DenseTile<16>>(task, run)
                         : run_dense_gradient<128, 128, DenseTile<8>>(task, run);
  }
  if (task.stride == 2)
    return task.in == 32 ? run_dense_forward<32, 64, DenseTile<16, 2>>(task, run)
                         : run_dense_forward<64, 128, DenseTile<8, 2>>(task, run);
  if (task.out == 32)
    return task.in == 16 ? run_dense_forward<16, 32, DenseTile<32>>(task, run)
                         : run_dense_forward<32, 32, DenseTile<32>>(task, run);
  return task.in == 64 ? run_dense_forward<64, 64, DenseTile<16>>(task, run)
                       : run_dense_forward<128, 128, DenseTile<8>>(task, run);
}

template <int kIns, class Tile, Reading kGrad, Reading kInput, class Run>
auto run_dense_weight(const DenseWeightTask& task, const Run& run) {
  using Kernel = DenseWeightKernel<kIns, Tile, kGrad, kInput>;
  static_assert(Kernel::kSharedBytes <= kDenseSharedBytes);
  return run(Kernel{task}, LaunchShape{task.parts, task.out / kDenseOuts * (task.in / kIns), 1, Kernel::kThreads,
                                       Kernel::kSharedBytes});
}
template <int kIns, class Tile, class Run>
auto run_dense_weight(const DenseWeightTask& task, const Run& run) {
  if (reading_of(task.input) == Reading::kPlain)
    return run_dense_weight<kIns, Tile, Reading::kPlain, Reading::kPlain>(task, run);
  return reading_of(task.grad) == Reading::kGradient
             ? run_dense_weight<kIns, Tile, Reading::kGradient, Reading::kNormalised>(task, run)
             : run_dense_weight<kIns, Tile, Reading::kPlain, Reading::kNormalised>(task, run);
}
template <class Run>
auto run_fused(const DenseWeightTask& task, const Run& run) {
  if (task.in == 16) return run_dense_weight<16, DenseTile<32>>(task, run);
  if (task.in == 32) return run_dense_weight<32, DenseTile<32>>(task, run);
  return task.in == 64 ? run_dense_weight<32, DenseTile<16>>(task, run) : run_dense_weight<32, DenseTile<8>>(task, run);
}

}  // namespace ekd

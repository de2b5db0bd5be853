// The inner loops of the fused kernels on a CPU with tiles for bfloat16 (AMX), over raw memory. Numbers are bfloat16 as
// bits, sums float32. Channels go in blocks of 32, what is missing in the last block is 0. *Paired* values of channels:
// of each block those of the even channels, then those of the odd ones, as a vector of bfloat16 falls apart into
// floats.
#pragma once

#include <cstdint>

namespace ekd {

using Bf16Bits = std::uint16_t;

constexpr std::int64_t kChannelBlock = 32;
constexpr std::int64_t whole_blocks(std::int64_t count) {
  return (count + kChannelBlock - 1) / kChannelBlock * kChannelBlock;
}

// c [rows, columns] = Σ over taps of a [rows, inner] · b [inner, columns], added to what is there where `adds`.
struct TapProduct {
  const Bf16Bits* a;
  std::int64_t a_row;    // numbers from one row to the next
  const Bf16Bits* b;     // pairs of rows, interleaved, in blocks of columns: [columns / 32, inner / 2, 32, 2]
  std::int64_t b_block;  // numbers from one block to the next
  float* c;
  std::int64_t c_row;
  std::int64_t rows, inner, columns;  // multiples of 16, 32 and 32
  std::int64_t taps;
  const std::int64_t *a_taps, *b_taps;  // where a tap's matrices begin, from a and b
  bool adds;
};

// `pixels` pixels of `channels` channels, each `x_step` numbers after the one before, become rows `to_step` apart, of
// whole blocks where there is room for them: max(x · scale + constant, 0), or x · scale + z · by_z + constant where
// there is a z, or x as it is.
struct ReadPixels {
  const Bf16Bits *x, *z;
  std::int64_t x_step, channels, pixels;
  const float* coefficients;  // scale, by_z, constant: paired, each whole_blocks(channels); null: as it is
  Bf16Bits* to;
  std::int64_t to_step;
};

// Rows of sums become pixels, with a tensor added, or masked: where z · scale + shift is not above 0. Sums of what was
// written, and of its squares (masked: of its products with z - mean), are added to `first` and `second`.
struct WritePixels {
  const float* from;
  std::int64_t from_step, channels, pixels;
  Bf16Bits* y;
  std::int64_t y_step;
  const Bf16Bits* added;  // null, or like y
  const Bf16Bits* z;      // null, or like y
  const float *scale, *shift, *mean;
  float *first, *second;  // null, or whole_blocks(channels), as are scale, shift and mean: in their own order
};

// Elementwise passes over pixels of `channels` channels, one after another where nothing else is said. Coefficients and
// sums are paired.
struct ElementPass {
  const Bf16Bits *x, *y, *other;
  std::int64_t channels, pixels;
  const float *scale, *by_x, *constant, *mean;
  Bf16Bits* to;
  std::int64_t y_step;
  float *first, *second;
};

// Average pooling 3×3, stride 2, padded by zeros that count.
struct PoolImage {
  std::int64_t height, width, channels;  // of x; sides are even
  const Bf16Bits* from;
  std::int64_t from_step;
  Bf16Bits* to;
  std::int64_t to_step;
};

// The sums of `parts` lists of numbers, `apart` from one to the next.
struct Terms {
  const float* values;
  std::int64_t parts = 1, apart = 0;
};

struct FusedLoops {
  void (*read)(const ReadPixels& task);
  void (*write)(const WritePixels& task);

  // out [columns, rows] = in [rows, columns]; multiples of 32.
  void (*transpose)(const Bf16Bits* in, std::int64_t in_row, std::int64_t rows, std::int64_t columns, Bf16Bits* out,
                    std::int64_t out_row);
  // Rows 2p and 2p + 1 of in [2 · pairs, columns] as out [columns / 32, pairs, 32, 2].
  void (*pair_rows)(const Bf16Bits* in, std::int64_t columns, std::int64_t pairs, Bf16Bits* out);

  // to, its pixels `y_step` apart, = max(x · scale + constant + other, 0); other may be null.
  void (*join)(const ElementPass& task);
  // to = other where y is above 0, both `y_step` apart, or, with y null, where x · scale + constant is; sums of to and
  // of to · (x - mean).
  void (*mask_gradient)(const ElementPass& task);
  // Sums of x and its squares.
  void (*moments)(const ElementPass& task);
  // to = y · scale + x · by_x + constant + other, y the gradient; other may be null.
  void (*norm_gradient)(const ElementPass& task);

  void (*pool)(const PoolImage& task);
  void (*pool_gradient)(const PoolImage& task);  // from: by the result; to: by x

  // *to += terms · one, rounded, for each of `count`; returns whether each was a number in range.
  bool (*add_fixed)(const Terms& terms, std::int64_t count, float one, float most, long long* to);
  void (*round)(const float* values, std::int64_t count, Bf16Bits* to);
};

#ifdef EKD_X86_KERNELS
extern const FusedLoops kFusedLoops;  // AVX-512 with bfloat16

// On tiles (AMX), between begin_tiles and end_tiles of the thread.
void begin_tiles();
void multiply_taps(const TapProduct& product);
void end_tiles();
#endif

}  // namespace ekd

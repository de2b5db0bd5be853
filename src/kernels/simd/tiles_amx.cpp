// Compiled for AMX with bfloat16, which fused/cpu.cpp asks the CPU and the kernel for.
#include <immintrin.h>

#include "kernels/fused/cpu_loops.h"

namespace ekd {
namespace {

constexpr std::int64_t kTileRows = 16, kTileInner = 32;

// Tiles 0 to 3 hold sums, 4 and 5 rows of a, 6 and 7 columns of b.
template <int kRowTiles>
void multiply_block(const TapProduct& p, std::int64_t row, std::int64_t column) {
  float* c = p.c + row * p.c_row + column;
  constexpr std::int64_t kPair = 2 * kChannelBlock;  // numbers of a pair of b's rows
  const std::int64_t c_bytes = 4 * p.c_row, a_bytes = 2 * p.a_row, b_bytes = 2 * kPair;
  if (p.adds) {
    _tile_loadd(0, c, c_bytes);
    _tile_loadd(1, c + kTileRows, c_bytes);
    if constexpr (kRowTiles == 2) {
      _tile_loadd(2, c + kTileRows * p.c_row, c_bytes);
      _tile_loadd(3, c + kTileRows * p.c_row + kTileRows, c_bytes);
    }
  } else {
    _tile_zero(0);
    _tile_zero(1);
    if constexpr (kRowTiles == 2) {
      _tile_zero(2);
      _tile_zero(3);
    }
  }
  for (std::int64_t tap = 0; tap < p.taps; ++tap) {
    const Bf16Bits* a = p.a + p.a_taps[tap] + row * p.a_row;
    const Bf16Bits* b = p.b + p.b_taps[tap] + column / kChannelBlock * p.b_block;
    for (std::int64_t k = 0; k < p.inner; k += kTileInner, a += kTileInner, b += kTileInner / 2 * kPair) {
      _tile_loadd(6, b, b_bytes);
      _tile_loadd(4, a, a_bytes);
      _tile_loadd(7, b + 2 * kTileRows, b_bytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (kRowTiles == 2) {
        _tile_loadd(5, a + kTileRows * p.a_row, a_bytes);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
  }
  _tile_stored(0, c, c_bytes);
  _tile_stored(1, c + kTileRows, c_bytes);
  if constexpr (kRowTiles == 2) {
    _tile_stored(2, c + kTileRows * p.c_row, c_bytes);
    _tile_stored(3, c + kTileRows * p.c_row + kTileRows, c_bytes);
  }
}

struct alignas(64) TileConfig {
  unsigned char palette = 1, start = 0, reserved[14] = {};
  unsigned short row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  unsigned char rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

}  // namespace

void begin_tiles() {
  static constexpr TileConfig kConfig;  // not on the stack: g++ 12 takes the instruction to read 8 bytes of it
  _tile_loadconfig(&kConfig);
}
void end_tiles() { _tile_release(); }

void multiply_taps(const TapProduct& p) {
  for (std::int64_t column = 0; column < p.columns; column += 2 * kTileRows) {
    std::int64_t row = 0;
    for (; row + 2 * kTileRows <= p.rows; row += 2 * kTileRows) multiply_block<2>(p, row, column);
    if (row < p.rows) multiply_block<1>(p, row, column);
  }
}

}  // namespace ekd

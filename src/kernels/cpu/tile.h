// One call of a register tile: what the loops of product.cc hand to the tiles, and the tiles that are compiled apart from them
// because they need an instruction set that Highway does not know.
#pragma once

#include <cstdint>

#include "kernels/cpu/simd.h"

namespace dgemma {

/// Units of A, B and depth are 4 bytes: a float, or a pair of bfloat16.
struct TileCall {
  const float* a;
  int64_t a_stride;
  const void* b;
  int64_t b_row_stride;
  int64_t b_panel_stride;
  int64_t depth;
  float* c;
  int64_t c_stride;
  int64_t c_panel_stride;
  Start start;
  const char* ahead;  ///< memory asked for while this tile runs: `ahead_step` bytes further at each step of depth
  int64_t ahead_step;
};

using TileFunction = void (*)(const TileCall&);

/// Rows and sums of the largest tile of dot products: those of AVX-512's float tiles, whose loops they share.
inline constexpr int64_t kDotTileRows = 12;
inline constexpr int64_t kDotTileSums = 24;

/// This processor multiplies pairs of bfloat16 and adds both products to a float32 (AVX512-BF16).
bool HasBf16Dots();
/// The tile of dot products for `rows` rows and 1, 2 or 4 panels, rows * panels at most kDotTileSums. Only where HasBf16Dots.
///   c[r, j] (+)= chain over pairs k, ascending, of + a[r, k].odd * b[k, j].odd, then + a[r, k].even * b[k, j].even
/// Products are exact, both additions round to nearest, denormal inputs and results count as 0: VDPBF16PS in Intel's Software
/// Developer's Manual, volume 2, which also says that it heeds no MXCSR.
TileFunction FindDotTile(int64_t rows, int64_t panels);
/// See ProductOps::pair_rows. Only where HasBf16Dots.
void PairRows(const float* from, int64_t stride, int64_t pairs, int64_t width, float* to);
/// Dot products from registers only, `rounds` times; returns the operations done. The machine's peak where HasBf16Dots.
double DotPeak(int64_t rounds, float* sink);

}  // namespace dgemma

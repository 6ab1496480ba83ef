// The register tile: kRows rows times kPanels panels of 16 columns, one multiply-add chain for each output.
// Re-included for every instruction set by product.cc only.
#if defined(DGEMMA_KERNELS_CPU_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DGEMMA_KERNELS_CPU_PRODUCT_INL_H_
#undef DGEMMA_KERNELS_CPU_PRODUCT_INL_H_
#else
#define DGEMMA_KERNELS_CPU_PRODUCT_INL_H_
#endif

#include <algorithm>
#include <array>
#include <utility>

#include "hwy/highway.h"
#include "kernels/cpu/compiler.h"
#include "kernels/cpu/tile.h"

HWY_BEFORE_NAMESPACE();
namespace dgemma {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using TileTag = hn::CappedTag<float, 16>;
using TileVec = hn::Vec<TileTag>;
inline constexpr size_t kTileLanes = hn::MaxLanes(TileTag());
inline constexpr size_t kPanelVectors = 16 / kTileLanes;

// Sixteen registers hold 12 sums, two or three vectors of B and one value of A; sets with 32 registers hold 24 sums.
#if HWY_TARGET == HWY_SCALAR
inline constexpr size_t kMaxSums = 16;
#elif HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_AVX2
inline constexpr size_t kMaxSums = 12;
#else
inline constexpr size_t kMaxSums = 24;
#endif
inline constexpr size_t kMaxTilePanels = kPanelVectors == 1 ? 2 : 1;
inline constexpr size_t kMaxTileRows = kMaxSums / (kPanelVectors * kMaxTilePanels);

/// Panels a tile of few rows takes at once, so that about eight independent chains hide the latency of a multiply-add.
constexpr size_t TilePanels(size_t rows) {
  for (size_t panels = 4; panels > kMaxTilePanels; panels /= 2) {
    if (rows * panels * kPanelVectors <= kMaxSums) return panels;
  }
  return kMaxTilePanels;
}

/// One step of depth: sums[r][v] += a[r] * b[v].
template <size_t kRows, size_t kVectors>
HWY_INLINE void Accumulate(const float* HWY_RESTRICT const (&a)[(kRows + 2) / 3], size_t a_stride,
                           const TileVec (&b)[kVectors], TileVec (&sums)[kRows][kVectors]) {
  const TileTag d;
  DGEMMA_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    const TileVec value = hn::Set(d, a[r / 3][(r % 3) * a_stride]);
    DGEMMA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(value, b[v], sums[r][v]);
  }
}

/// A is float32; B is, or pairs of bfloat16 that are widened on the way: then depth counts values, and is even.
template <size_t kRows, size_t kPanels, PanelFormat kFormat>
void Tile(const TileCall& call) {
  constexpr size_t kVectors = kPanels * kPanelVectors;
  const TileTag d;
  const hn::RebindToUnsigned<TileTag> du;
  const auto a_stride = static_cast<size_t>(call.a_stride), c_stride = static_cast<size_t>(call.c_stride);
  const auto b_row = static_cast<size_t>(call.b_row_stride), b_panel = static_cast<size_t>(call.b_panel_stride);
  const auto c_panel = static_cast<size_t>(call.c_panel_stride);
  const auto c_of = [&](size_t r, size_t v) {
    return call.c + r * c_stride + v / kPanelVectors * c_panel + v % kPanelVectors * kTileLanes;
  };
  TileVec sums[kRows][kVectors];
  DGEMMA_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    DGEMMA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) {
      sums[r][v] = call.start == Start::kZero ? hn::Zero(d) : hn::LoadU(d, c_of(r, v));
    }
  }
  // Three rows share one pointer (offsets 0, 1 and 2 strides are addressing modes), which leaves registers for the rest.
  const float* HWY_RESTRICT a[(kRows + 2) / 3];
  DGEMMA_UNROLL
  for (size_t r = 0; r < (kRows + 2) / 3; ++r) a[r] = call.a + 3 * r * a_stride;
  const char* ahead = call.ahead;
  const int64_t ahead_step = call.ahead_step;
  if constexpr (kFormat == PanelFormat::kBf16Pairs) {
    const uint32_t* HWY_RESTRICT b = static_cast<const uint32_t*>(call.b);
    const auto high = hn::Set(du, 0xFFFF0000u);
    for (int64_t k = 0; k < call.depth;
         k += 2) {  // pairs are loaded twice: no register holds one half while the other is used
      TileVec halves[kVectors];
      DGEMMA_UNROLL
      for (size_t v = 0; v < kVectors; ++v) {
        const auto pairs = hn::LoadU(du, b + v / kPanelVectors * b_panel + v % kPanelVectors * kTileLanes);
        halves[v] = hn::BitCast(d, hn::ShiftLeft<16>(pairs));
      }
      Accumulate<kRows, kVectors>(a, a_stride, halves, sums);
      for (auto& pointer : a) ++pointer;
      DGEMMA_UNROLL
      for (size_t v = 0; v < kVectors; ++v) {
        const auto pairs = hn::LoadU(du, b + v / kPanelVectors * b_panel + v % kPanelVectors * kTileLanes);
        halves[v] = hn::BitCast(d, hn::And(pairs, high));
      }
      Accumulate<kRows, kVectors>(a, a_stride, halves, sums);
      for (auto& pointer : a) ++pointer;
      b += kPanel;
      __builtin_prefetch(ahead, 0, 2);
      ahead += ahead_step;
    }
  } else {
    const float* HWY_RESTRICT b = static_cast<const float*>(call.b);
    for (int64_t k = 0; k < call.depth; ++k) {
      TileVec vectors[kVectors];
      DGEMMA_UNROLL
      for (size_t v = 0; v < kVectors; ++v) {
        vectors[v] = hn::LoadU(d, b + v / kPanelVectors * b_panel + v % kPanelVectors * kTileLanes);
      }
      Accumulate<kRows, kVectors>(a, a_stride, vectors, sums);
      for (auto& pointer : a) ++pointer;
      b += b_row;
      __builtin_prefetch(ahead, 0, 2);
      ahead += ahead_step;
    }
  }
  DGEMMA_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    DGEMMA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) hn::StoreU(sums[r][v], d, c_of(r, v));
  }
}

/// The instance for `rows` rows and up to `panels` panels, a power of two no larger than TilePanels(rows).
template <PanelFormat kFormat, size_t kPanels, size_t... kIndex>
constexpr std::array<TileFunction, sizeof...(kIndex)> TileTable(std::index_sequence<kIndex...>) {
  return {(kPanels <= TilePanels(kIndex + 1) ? &Tile<kIndex + 1, std::min(kPanels, TilePanels(kIndex + 1)), kFormat>
                                             : nullptr)...};
}

template <PanelFormat kFormat>
TileFunction FindTile(int64_t rows, int64_t panels) {
  using Rows = std::make_index_sequence<kMaxTileRows>;
  static constexpr std::array<std::array<TileFunction, kMaxTileRows>, 3> kTable = {
      TileTable<kFormat, 1>(Rows()), TileTable<kFormat, 2>(Rows()), TileTable<kFormat, 4>(Rows())};
  return kTable[static_cast<size_t>(panels / 2)][static_cast<size_t>(rows - 1)];
}

}  // namespace HWY_NAMESPACE
}  // namespace dgemma
HWY_AFTER_NAMESPACE();

#endif

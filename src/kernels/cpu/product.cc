// The blocked matrix product over packed panels, and the transposition of panels: the only source that knows the register tile.
// Compiled once for each instruction set; everything above calls it through ProductOps.
#include <algorithm>
#include <bit>
#include <cstring>

#include "kernels/cpu/simd.h"
#include "kernels/cpu/tile.h"
#include "tensor/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/product.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "hwy/highway.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/product-inl.h"
#include "kernels/cpu/transpose-inl.h"
#include "kernels/cpu/widen-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dgemma {
namespace HWY_NAMESPACE {

inline constexpr auto kLanes = static_cast<int64_t>(kTileLanes);
inline constexpr auto kTileRows = static_cast<int64_t>(kMaxTileRows);

/// Depth of one block: 256 x 16 floats of B are 16 KiB, half of a first-level cache.
inline constexpr int64_t kDepthBlock = 256;

/// Rows whose 256 values of depth stay in a second-level cache next to four panels of B.
inline constexpr int64_t kRowsBlock = 96;

/// `panels` panels of B at depth [k, k + depth) as float32 with 16 values a row, `kDepthBlock` rows a panel, zero padded.
void CopyPanels(const Product& p, int64_t col, int64_t panels, int64_t k, int64_t depth, float* to) {
  const TileTag d;
  const hn::RebindToUnsigned<TileTag> du;
  const auto high = hn::Set(du, 0xFFFF0000u);
  for (int64_t panel = 0; panel < panels; ++panel, to += kDepthBlock * kPanel) {
    const int64_t first = (col / kPanel + panel) * p.b_panel_stride;
    if (p.format == PanelFormat::kBf16Pairs) {
      const uint32_t* from = static_cast<const uint32_t*>(p.b) + first + k / 2 * kPanel;
      for (int64_t pair = 0; pair < depth / 2 * kPanel; pair += kLanes) {
        const auto both = hn::LoadU(du, from + pair);
        float* even = to + pair / kPanel * 2 * kPanel + pair % kPanel;
        hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(both)), d, even);
        hn::StoreU(hn::BitCast(d, hn::And(both, high)), d, even + kPanel);
      }
      continue;
    }
    const float* from = static_cast<const float*>(p.b) + first + k * p.b_row_stride;
    const int64_t width = std::min(kPanel, p.cols - col - panel * kPanel);
    for (int64_t row = 0; row < depth; ++row, from += p.b_row_stride) {
      if (width == kPanel) {
        for (int64_t j = 0; j < kPanel; j += kLanes) hn::StoreU(hn::LoadU(d, from + j), d, to + row * kPanel + j);
      } else {
        std::memset(to + row * kPanel, 0, static_cast<size_t>(kPanel) * sizeof(float));
        std::memcpy(to + row * kPanel, from, static_cast<size_t>(width) * sizeof(float));
      }
    }
  }
}

/// Runs one tile whose last panel has only `cols` columns of C: through a buffer.
void PartialTile(TileFunction tile, TileCall call, int64_t rows, int64_t cols) {
  alignas(64) float buffer[kMaxTileRows * 4 * size_t{kPanel}];
  const int64_t stride = (cols + kPanel - 1) / kPanel * kPanel;
  float* c = call.c;
  const auto bytes = static_cast<size_t>(cols) * sizeof(float);
  if (call.start == Start::kAdd) {
    std::memset(buffer, 0, sizeof(buffer));
    for (int64_t r = 0; r < rows; ++r) std::memcpy(buffer + r * stride, c + r * call.c_stride, bytes);
  }
  const int64_t c_stride = call.c_stride;
  call.c = buffer;
  call.c_stride = stride;
  call.c_panel_stride = kPanel;
  tile(call);
  for (int64_t r = 0; r < rows; ++r) std::memcpy(c + r * c_stride, buffer + r * stride, bytes);
}

/// Memory that the next group of panels will need; asked for little by little while the tiles of this one run, because a panel
/// is read from memory only once and the first tile would otherwise wait for it.
struct Ahead {
  const char* begin = nullptr;
  int64_t bytes = 0;
};

/// Asks for C of the tile two further on: of panels that add up sums over few rows it is most of what memory moves.
void AskForTile(const TileCall& call, int64_t rows, int64_t panels) {
  for (int64_t panel = 0; panel < panels; ++panel) {
    const float* c = call.c + panel * call.c_panel_stride + 2 * rows * call.c_stride;
    for (int64_t r = 0; r < rows; ++r) __builtin_prefetch(c + r * call.c_stride, 1, 3);
  }
}

using TileFinder = TileFunction (*)(int64_t rows, int64_t panels);

/// All rows times one group of panels over one block of depth.
void RowTiles(const Product& p, TileFinder find, TileCall call, int64_t panels, int64_t cols, Ahead ahead) {
  const int64_t tiles = (p.rows + kTileRows - 1) / kTileRows;
  if (ahead.bytes > 0) {
    call.ahead = ahead.begin;
    call.ahead_step = ahead.bytes / (tiles * call.depth) + 1;
  }
  for (int64_t tile = 0; tile < tiles; ++tile) {  // sizes differ by one at most: no tile is too small to hide latency
    const int64_t rows = p.rows / tiles + (tile < p.rows % tiles ? 1 : 0);
    const TileFunction run = find(rows, panels);
    if (p.c_panel_stride != kPanel) AskForTile(call, rows, panels);
    if (cols == panels * kPanel)
      run(call);
    else
      PartialTile(run, call, rows, cols);
    call.a += rows * call.a_stride;
    call.c += rows * call.c_stride;
    call.ahead += call.ahead_step * call.depth;
  }
}

/// Where the panel of column `col` lies at this block of depth, or the first panel at the next block.
Ahead NextPanel(const Product& p, int64_t col, int64_t k, int64_t depth) {
  if (p.format == PanelFormat::kF32Rows) return {};
  if (col >= p.cols) {
    col = 0;
    k += depth;
    depth = std::min(depth, p.depth - k);
    if (depth <= 0) return {};
  }
  const bool pairs = p.format == PanelFormat::kBf16Pairs;
  const int64_t first = col / kPanel * p.b_panel_stride + (pairs ? k / 2 * kPanel : k * p.b_row_stride);
  return {static_cast<const char*>(p.b) + first * 4, (pairs ? depth * 2 : depth * 4) * kPanel};
}

/// Few rows use every value of B once: no copy of B, no blocks of depth.
bool HasFewRows(const Product& p) { return p.rows <= kTileRows; }

/// B is copied block by block where its values are not float32 panels as they stand.
bool NeedsCopy(const Product& p) {
  return p.format == PanelFormat::kF32Rows ? !HasFewRows(p) || p.cols % kPanel != 0
                                           : p.format == PanelFormat::kBf16Pairs && !HasFewRows(p);
}

/// Depth [begin, begin + size).
struct DepthBlock {
  int64_t begin;
  int64_t size;
};

/// All rows of p and all its columns over one block of depth, where A begins. `floats` finds the tile of float32 panels, and of
/// what looks like them.
void MultiplyDepth(const Product& p, DepthBlock block, TileFinder floats, float* copied) {
  const int64_t k = block.begin, depth = block.size;
  const bool copy = NeedsCopy(p);
  const bool few_rows = HasFewRows(p);
  int64_t panels = static_cast<int64_t>(few_rows ? TilePanels(static_cast<size_t>(p.rows)) : kMaxTilePanels);
  for (int64_t col = 0; col < p.cols; col += panels * kPanel) {
    const int64_t left = (p.cols - col + kPanel - 1) / kPanel;
    while (panels > left) panels /= 2;
    const int64_t cols = std::min(panels * kPanel, p.cols - col), first = col / kPanel * p.b_panel_stride;
    const char* start_of_b = static_cast<const char*>(p.b) + first * 4;
    TileCall call{p.a,
                  p.a_stride,
                  copied,
                  kPanel,
                  kDepthBlock * kPanel,
                  depth,
                  p.c + col / kPanel * p.c_panel_stride,
                  p.c_stride,
                  p.c_panel_stride,
                  k == 0 ? p.start : Start::kAdd,
                  start_of_b,
                  0};
    const Ahead ahead = few_rows ? Ahead() : NextPanel(p, col + panels * kPanel, k, depth);
    if (copy) {
      CopyPanels(p, col, panels, k, depth, copied);
      RowTiles(p, floats, call, panels, cols, ahead);
      continue;
    }
    const bool pairs = p.format == PanelFormat::kBf16Pairs;
    const char* b = start_of_b + (pairs ? k / 2 : k) * p.b_row_stride * 4;
    call.b = b;
    call.b_row_stride = p.b_row_stride;
    call.b_panel_stride = p.b_panel_stride;
    if (few_rows) {  // its own panel, a few lines further on
      call.ahead = b + 4096;
      call.ahead_step = p.b_row_stride * 4;
    }
    RowTiles(p, pairs ? &FindTile<PanelFormat::kBf16Pairs> : floats, call, panels, cols, ahead);
  }
}

/// Rows of one block of rows: equal blocks and, except the last, multiples of the tile.
int64_t RowsOfBlock(const Product& p) {
  const int64_t blocks = (p.rows + kRowsBlock - 1) / kRowsBlock;
  return ((p.rows + blocks - 1) / blocks + kTileRows - 1) / kTileRows * kTileRows;
}

/// Of float32, or of pairs of bfloat16 that look like it.
void MultiplyUnits(const Product& p, TileFinder find) {
  alignas(64) float copied[static_cast<size_t>(4 * kPanel * kDepthBlock)];
  const int64_t depth_block = HasFewRows(p) && !NeedsCopy(p) ? std::max<int64_t>(p.depth, 1) : kDepthBlock;
  const int64_t rows = RowsOfBlock(p);
  for (int64_t k = 0; k == 0 || k < p.depth; k += depth_block) {
    for (int64_t row = 0; row < p.rows; row += rows) {
      Product part = p;
      part.a += row * p.a_stride + k;
      part.c += row * p.c_stride;
      part.rows = std::min(rows, p.rows - row);
      MultiplyDepth(part, {k, std::min(depth_block, p.depth - k)}, find, copied);
    }
  }
}

/// Widens rows of pairs to twice as many floats.
void WidenRows(const Product& p, int64_t pairs, float* to, int64_t to_stride) {
  for (int64_t row = 0; row < p.rows; ++row) {
    const float* from = p.a + row * p.a_stride;
    for (int64_t k = 0; k < pairs; ++k) {
      const uint32_t pair = std::bit_cast<uint32_t>(from[k]);
      to[row * to_stride + 2 * k] = std::bit_cast<float>(pair << 16);
      to[row * to_stride + 2 * k + 1] = std::bit_cast<float>(pair & 0xFFFF0000u);
    }
  }
}

/// Of pairs of bfloat16 as float32: a block of A, and of B where many rows use it, is widened before the tiles run, little
/// beside the columns and rows that meet it.
void MultiplyWidened(const Product& p) {
  constexpr int64_t kStride = kDepthBlock + 16, kPairs = kDepthBlock / 2;
  alignas(64) float copied[static_cast<size_t>(4 * kPanel * kDepthBlock)];
  alignas(64) float widened[static_cast<size_t>(kRowsBlock * kStride)];
  const int64_t rows = RowsOfBlock(p);
  for (int64_t k = 0; k == 0 || k < p.depth; k += kPairs) {
    const int64_t pairs = std::min(kPairs, p.depth - k);
    for (int64_t row = 0; row < p.rows; row += rows) {
      Product part = p;
      part.a += row * p.a_stride + k;
      part.c += row * p.c_stride;
      part.rows = std::min(rows, p.rows - row);
      WidenRows(part, pairs, widened, kStride);
      part.a = widened;
      part.a_stride = kStride;
      part.depth = 2 * p.depth;
      MultiplyDepth(part, {2 * k, 2 * pairs}, &FindTile<PanelFormat::kF32>, copied);
    }
  }
}

void Multiply(const Product& p) {
  if (p.rows <= 0 || p.cols <= 0) return;
  if (p.format == PanelFormat::kBf16Pairs)
    MultiplyWidened(p);
  else
    MultiplyUnits(p, &FindTile<PanelFormat::kF32>);
}

#if HWY_TARGET == HWY_AVX3
/// A product of pairs runs through the same loops as one of floats, with another tile.
static_assert(kTileRows == kDotTileRows && kMaxSums == static_cast<size_t>(kDotTileSums));

void MultiplyWithDots(const Product& p) {
  if (p.rows <= 0 || p.cols <= 0) return;
  if (p.format != PanelFormat::kBf16Pairs) {
    Multiply(p);
    return;
  }
  Product units = p;
  units.format = PanelFormat::kF32;
  MultiplyUnits(units, &FindDotTile);
}
#endif

/// See ProductOps::pair_rows.
void RoundPairs(const float* from, int64_t stride, int64_t pairs, int64_t width, float* to) {
  const TileTag d;
  for (int64_t col = 0; col < width; col += kPanel) {
    const float* even = from + col;
    for (int64_t pair = 0; pair < pairs; ++pair, even += 2 * stride, to += kPanel) {
      for (int64_t j = 0; j < kPanel; j += kLanes) {
        const auto low = Bf16Bits(d, hn::LoadU(d, even + j)), high = Bf16Bits(d, hn::LoadU(d, even + stride + j));
        hn::StoreU(hn::BitCast(d, hn::Or(low, hn::ShiftLeft<16>(high))), d, to + j);
      }
    }
  }
}

/// See ProductOps::transpose.
void TransposePanels(const void* from, PanelFormat format, int64_t panel_stride, int64_t ids, int64_t width,
                     float* to) {
  alignas(64) float wide[4 * kPanel];
  const TileTag d;
  const hn::RebindToUnsigned<TileTag> du;
  const auto high = hn::Set(du, 0xFFFF0000u);
  const int64_t out_panel = (ids + kPanel - 1) / kPanel * kPanel * kPanel;
  for (int64_t id = 0; id < ids; id += kPanel) {
    const int64_t first = id / kPanel * panel_stride;
    for (int64_t dim = 0; dim < width; dim += 4) {
      const int64_t dims = std::min<int64_t>(4, width - dim);
      const float* rows = static_cast<const float*>(from) + first + dim * kPanel;
      if (format == PanelFormat::kBf16Pairs) {
        const uint32_t* pairs = static_cast<const uint32_t*>(from) + first + dim / 2 * kPanel;
        for (int64_t j = 0; j < (dims + 1) / 2 * kPanel; j += kLanes) {
          const auto both = hn::LoadU(du, pairs + j);
          float* even = wide + j / kPanel * 2 * kPanel + j % kPanel;
          hn::StoreU(hn::BitCast(d, hn::ShiftLeft<16>(both)), d, even);
          hn::StoreU(hn::BitCast(d, hn::And(both, high)), d, even + kPanel);
        }
        rows = wide;
      }
      float* target = to + dim / kPanel * out_panel + id * kPanel + dim % kPanel;
      if (dims == 4) {
        for (int64_t j = 0; j < kPanel; j += 4) {
          const float* const four[4] = {rows + j, rows + kPanel + j, rows + 2 * kPanel + j, rows + 3 * kPanel + j};
          Transpose4(four, target + j * kPanel, kPanel);
        }
      } else {
        for (int64_t j = 0; j < kPanel; ++j) {
          for (int64_t i = 0; i < dims; ++i) target[j * kPanel + i] = rows[i * kPanel + j];
        }
      }
    }
  }
}

/// Sums of `Panels` panels of 16 columns stay in registers over all entries; entries at odd places have sums of their own, so that
/// chains are enough to hide the latency of a multiply-add.
template <size_t Panels>
HWY_INLINE void AddFewPanels(const float* a, const uint8_t* id, int64_t count, const float* b, int64_t panel_stride,
                             float* sums) {
  const TileTag d;
  constexpr size_t kVectors = Panels * kPanelVectors;
  TileVec sum[2][kVectors];
  DGEMMA_UNROLL
  for (size_t v = 0; v < kVectors; ++v) {
    sum[0][v] = hn::LoadU(d, sums + v * kTileLanes);
    sum[1][v] = hn::Zero(d);
  }
  const auto add = [&](int64_t place, size_t chain) HWY_ATTR {
    const auto weight = hn::Set(d, a[id[place]]);
    const float* row = b + id[place] * kPanel;
    DGEMMA_UNROLL
    for (size_t v = 0; v < kVectors; ++v) {
      const float* values = row + static_cast<int64_t>(v / kPanelVectors) * panel_stride;
      sum[chain][v] = hn::MulAdd(weight, hn::LoadU(d, values + v % kPanelVectors * kTileLanes), sum[chain][v]);
    }
  };
  for (int64_t i = 0; i + 1 < count; i += 2) {
    add(i, 0);
    add(i + 1, 1);
  }
  if (count % 2 != 0) add(count - 1, 0);
  DGEMMA_UNROLL
  for (size_t v = 0; v < kVectors; ++v) hn::StoreU(hn::Add(sum[0][v], sum[1][v]), d, sums + v * kTileLanes);
}

/// See ProductOps::add_few.
void AddFew(const float* a, const uint8_t* id, int64_t count, const float* b, int64_t panel_stride, int64_t cols,
            float* c) {
  if (cols == 4 * kPanel) {
    AddFewPanels<4>(a, id, count, b, panel_stride, c);
    return;
  }
  for (int64_t col = 0; col < cols; col += kPanel) {
    alignas(64) float sums[kPanel] = {};
    const auto bytes = static_cast<size_t>(std::min(kPanel, cols - col)) * sizeof(float);
    std::memcpy(sums, c + col, bytes);
    AddFewPanels<1>(a, id, count, b + col / kPanel * panel_stride, panel_stride, sums);
    std::memcpy(c + col, sums, bytes);
  }
}

std::vector<ProductOps> MakeProductOps() {
  std::vector<ProductOps> found;
#if HWY_TARGET == HWY_AVX3
  if (HasBf16Dots()) {
    found.push_back({"AVX3 bf16", kTileRows, &MultiplyWithDots, &TransposePanels, &AddFew, &PairRows, &Widen});
  }
#endif
  found.push_back({hwy::TargetName(HWY_TARGET), kTileRows, &Multiply, &TransposePanels, &AddFew, &RoundPairs, &Widen});
  return found;
}

}  // namespace HWY_NAMESPACE
}  // namespace dgemma
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dgemma {
HWY_EXPORT(MakeProductOps);
std::vector<ProductOps> SupportedProductOps() { return HWY_DYNAMIC_DISPATCH(MakeProductOps)(); }
ProductOps ChooseProductOps() { return SupportedProductOps().front(); }
}  // namespace dgemma
#endif

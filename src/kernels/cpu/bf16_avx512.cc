// The register tile of products whose sides are both bfloat16, with AVX512-BF16: vdpbf16ps multiplies 16 pairs by 16 pairs and adds
// both products of each to a float32. The loops around it are those of product.cc.
#include <array>
#include <cstring>
#include <utility>

#include "kernels/cpu/compiler.h"
#include "kernels/cpu/tile.h"

#if defined(__x86_64__)
#include "kernels/cpu/intrinsics.h"

DGEMMA_BEGIN_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")
namespace dgemma {
namespace {

__m512 AddDots(__m512 sums, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sums, __builtin_bit_cast(__m512bh, a), __builtin_bit_cast(__m512bh, b));
}

/// One pair in every lane.
__m512i SetPair(const float* pair) {
  int32_t bits = 0;
  std::memcpy(&bits, pair, sizeof(bits));
  return _mm512_set1_epi32(bits);
}

template <size_t kRows, size_t kPanels>
void DotTile(const TileCall& call) {
  const auto a_stride = static_cast<size_t>(call.a_stride), c_stride = static_cast<size_t>(call.c_stride);
  const auto b_panel = static_cast<size_t>(call.b_panel_stride), b_row = static_cast<size_t>(call.b_row_stride);
  const auto c_panel = static_cast<size_t>(call.c_panel_stride);
  __m512 sums[kRows][kPanels];
  DGEMMA_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    DGEMMA_UNROLL
    for (size_t p = 0; p < kPanels; ++p) {
      sums[r][p] =
          call.start == Start::kZero ? _mm512_setzero_ps() : _mm512_loadu_ps(call.c + r * c_stride + p * c_panel);
    }
  }
  const float* a[(kRows + 2) / 3];  // three rows share a pointer, as in product-inl.h
  DGEMMA_UNROLL
  for (size_t r = 0; r < (kRows + 2) / 3; ++r) a[r] = call.a + 3 * r * a_stride;
  const float* b = static_cast<const float*>(call.b);
  const char* ahead = call.ahead;
  for (int64_t k = 0; k < call.depth; ++k) {
    __m512i pairs[kPanels];
    DGEMMA_UNROLL
    for (size_t p = 0; p < kPanels; ++p) pairs[p] = _mm512_loadu_si512(b + p * b_panel);
    DGEMMA_UNROLL
    for (size_t r = 0; r < kRows; ++r) {
      const __m512i pair = SetPair(a[r / 3] + (r % 3) * a_stride);
      DGEMMA_UNROLL
      for (size_t p = 0; p < kPanels; ++p) sums[r][p] = AddDots(sums[r][p], pair, pairs[p]);
    }
    DGEMMA_UNROLL
    for (size_t r = 0; r < (kRows + 2) / 3; ++r) ++a[r];
    b += b_row;
    __builtin_prefetch(ahead, 0, 2);
    ahead += call.ahead_step;
  }
  DGEMMA_UNROLL
  for (size_t r = 0; r < kRows; ++r) {
    DGEMMA_UNROLL
    for (size_t p = 0; p < kPanels; ++p) _mm512_storeu_ps(call.c + r * c_stride + p * c_panel, sums[r][p]);
  }
}

/// Entry r is the tile of r + 1 rows, null beyond the registers.
template <size_t kPanels, size_t... kRow>
constexpr std::array<TileFunction, sizeof...(kRow)> DotTileTable(std::index_sequence<kRow...>) {
  constexpr size_t kMostRows = static_cast<size_t>(kDotTileSums) / kPanels;
  return {(kRow < kMostRows ? &DotTile<(kRow < kMostRows ? kRow + 1 : 1), kPanels> : nullptr)...};
}

}  // namespace

void PairRows(const float* from, int64_t stride, int64_t pairs, int64_t width, float* to) {
  alignas(64) uint16_t places[32];  // the conversion leaves even rows in the lower half
  for (uint16_t j = 0; j < 16; ++j) {
    places[2 * j] = j;
    places[2 * j + 1] = static_cast<uint16_t>(16 + j);
  }
  const __m512i interleave = _mm512_load_si512(places);
  for (int64_t col = 0; col < width; col += 16) {
    const float* even = from + col;
    for (int64_t pair = 0; pair < pairs; ++pair, even += 2 * stride, to += 16) {
      const auto halves =
          __builtin_bit_cast(__m512i, _mm512_cvtne2ps_pbh(_mm512_loadu_ps(even + stride), _mm512_loadu_ps(even)));
      _mm512_storeu_si512(to, _mm512_permutexvar_epi16(interleave, halves));
    }
  }
}

double DotPeak(int64_t rounds, float* sink) {
  constexpr size_t kChains = 12;  // as in peak.cc
  __m512 sums[kChains];
  for (size_t i = 0; i < kChains; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  const __m512i a = _mm512_set1_epi32(0x3F003F00), b = _mm512_set1_epi32(0x3F803F80);  // 0.5 and 1
  for (int64_t round = 0; round < rounds; ++round) {
    DGEMMA_UNROLL
    for (size_t i = 0; i < kChains; ++i) {
      sums[i] = AddDots(sums[i], a, b);
      DGEMMA_PIN(sums[i]);
    }
  }
  __m512 total = sums[0];
  for (size_t i = 1; i < kChains; ++i) total = _mm512_add_ps(total, sums[i]);
  float lanes[16];
  _mm512_storeu_ps(lanes, total);
  *sink = lanes[0];
  return static_cast<double>(rounds) * static_cast<double>(kChains) * 16 * 2 * 2;
}

TileFunction FindDotTile(int64_t rows, int64_t panels) {
  using Rows = std::make_index_sequence<static_cast<size_t>(kDotTileRows)>;
  static constexpr std::array<std::array<TileFunction, static_cast<size_t>(kDotTileRows)>, 3> kTable = {
      DotTileTable<1>(Rows()), DotTileTable<2>(Rows()), DotTileTable<4>(Rows())};
  return kTable[static_cast<size_t>(panels / 2)][static_cast<size_t>(rows - 1)];
}

}  // namespace dgemma
DGEMMA_END_TARGET

namespace dgemma {
bool HasBf16Dots() { return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vl"); }
}  // namespace dgemma
#else
namespace dgemma {
bool HasBf16Dots() { return false; }
TileFunction FindDotTile(int64_t, int64_t) { return nullptr; }
void PairRows(const float*, int64_t, int64_t, int64_t, float*) {}
double DotPeak(int64_t, float*) { return 0; }
}  // namespace dgemma
#endif

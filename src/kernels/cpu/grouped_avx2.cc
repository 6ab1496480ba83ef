// Grouped products with AVX2 alone. vpmaddubsw saturates at 2^15, so int8 codes are multiplied by magnitude (2 * 128 * 127 fits) and
// the sign moves to the activations; products of int4 codes are small enough to add eight of them first.
#include "kernels/cpu/grouped_isa.h"

#if defined(__x86_64__)
#include <immintrin.h>

DGEMMA_BEGIN_TARGET("avx2,fma,f16c")
namespace dgemma {
namespace {

struct Isa {
#include "kernels/cpu/grouped_256-inl.h"
  static constexpr size_t kRowScaledRows = 4;
  template <WeightKind kKind>
  static constexpr bool kSignedCodes = kKind == WeightKind::kInt8;

  static I Four(const int8_t* a) {
    int32_t value = 0;
    std::memcpy(&value, a, sizeof(value));
    return _mm256_set1_epi32(value);
  }
  static I AddPairs(I sum, I products) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(products, _mm256_set1_epi16(1)));
  }

  /// Adds the products of one vector of codes of int8, as they are stored, with four activations of each row.
  template <size_t kTileRows>
  static inline __attribute__((always_inline)) void AddInt8(I stored, const int8_t* a, int64_t a_stride, size_t v,
                                                            I (&dot)[kTileRows][kVectors]) {
    const I code = _mm256_xor_si256(stored, _mm256_set1_epi8(-128)), magnitude = _mm256_abs_epi8(code);
    DGEMMA_UNROLL
    for (size_t r = 0; r < kTileRows; ++r) {
      const I four = Four(a + static_cast<int64_t>(r) * a_stride);
      dot[r][v] = AddPairs(dot[r][v], _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(four, code)));
    }
  }

  template <WeightKind kKind, int64_t kGroup, size_t kTileRows, size_t kTilePanels>
  static inline __attribute__((always_inline)) void DotGroup(const int8_t* a, int64_t a_stride,
                                                             const std::byte* const (&codes)[kTilePanels],
                                                             I (&dot)[kTileRows][kTilePanels * kVectors]) {
    if constexpr (kKind == WeightKind::kInt8) {
      for (int64_t quad = 0; quad < kGroup / 4; ++quad) {
        DGEMMA_UNROLL
        for (size_t v = 0; v < kVectors; ++v) {
          AddInt8(LoadCodes(codes[0] + quad * 64 + static_cast<int64_t>(v) * 32), a + quad * 4, a_stride, v, dot);
        }
      }
    } else {
      constexpr int64_t kQuadsAtOnce = 4;  // two halves each: 8 * 2 * 15 * 127 < 2^15
      constexpr int64_t kQuads = kGroup / 8;
      for (int64_t begin = 0; begin < kQuads; begin += kQuadsAtOnce) {
        DGEMMA_UNROLL
        for (size_t v = 0; v < kVectors; ++v) {
          I products[kTileRows];
          DGEMMA_UNROLL
          for (size_t r = 0; r < kTileRows; ++r) products[r] = _mm256_setzero_si256();
          for (int64_t quad = begin; quad < std::min(kQuads, begin + kQuadsAtOnce); ++quad) {
            const I both = LoadCodes(codes[0] + quad * 64 + static_cast<int64_t>(v) * 32);
            const I low = LowHalf(both), high = HighHalf(both);
            DGEMMA_UNROLL
            for (size_t r = 0; r < kTileRows; ++r) {
              const int8_t* four = a + static_cast<int64_t>(r) * a_stride + quad * 4;
              products[r] = _mm256_add_epi16(products[r], _mm256_maddubs_epi16(low, Four(four)));
              products[r] = _mm256_add_epi16(products[r], _mm256_maddubs_epi16(high, Four(four + kQuads * 4)));
            }
          }
          DGEMMA_UNROLL
          for (size_t r = 0; r < kTileRows; ++r) dot[r][v] = AddPairs(dot[r][v], products[r]);
        }
      }
    }
  }
};

}  // namespace
}  // namespace dgemma
#include "kernels/cpu/grouped_rows-inl.h"
#include "kernels/cpu/grouped_tile-inl.h"
DGEMMA_END_TARGET

namespace dgemma {
const GroupedOps* Avx2GroupedOps() {
  static constexpr GroupedOps kOps{"avx2", &MultiplyGrouped, &PeakGrouped};
  return &kOps;
}
}  // namespace dgemma
#else
namespace dgemma {
const GroupedOps* Avx2GroupedOps() { return nullptr; }
}  // namespace dgemma
#endif

// Grouped products with AVX-512 VNNI: vpdpbusd multiplies 64 unsigned by signed bytes and adds fours of them to 16 int32.
#include "kernels/cpu/grouped_isa.h"

#if defined(__x86_64__)
#include "kernels/cpu/intrinsics.h"

DGEMMA_BEGIN_TARGET("avx2,fma,f16c,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")
namespace dgemma {
namespace {

struct Isa {
  using F = __m512;
  using I = __m512i;
  static constexpr size_t kVectors = 1, kRows = 6, kRowScaledRows = 12, kPanels = 2;
  template <WeightKind>
  static constexpr bool kSignedCodes = false;

  static F Zero() { return _mm512_setzero_ps(); }
  static F Set(float value) { return _mm512_set1_ps(value); }
  static I SetInt(int32_t value) { return _mm512_set1_epi32(value); }
  static void Store(float* to, F value) { _mm512_storeu_ps(to, value); }
  static void StoreInt(int32_t* to, I value) { _mm512_storeu_si512(to, value); }
  static I LoadInt(const int32_t* from) { return _mm512_loadu_si512(from); }
  static F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static F NegFma(F a, F b, F c) { return _mm512_fnmadd_ps(a, b, c); }
  static F ToFloat(I value) { return _mm512_cvtepi32_ps(value); }
  static F LoadHalf(const std::byte* from) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }

  struct Steps {
    I step, base;
  };
  /// Sixteen bytes in every 128 bits.
  static I Repeated(const std::byte* from) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }
  /// Each lane's step as two 16-bit numbers, its base as four bytes.
  static void LoadSteps(const std::byte* from, size_t, Steps& steps) {
    const I lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const I four = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(0x01010101));
    const I words = _mm512_or_si512(four, _mm512_set1_epi32(static_cast<int32_t>(0x80008000)));
    const I step = _mm512_and_si512(_mm512_shuffle_epi8(Repeated(from), words), _mm512_set1_epi16(15));
    steps.step = _mm512_add_epi16(step, _mm512_set1_epi16(1));
    steps.base = _mm512_shuffle_epi8(Repeated(from + kPanelLanes), four);
  }
  /// Codes are at most 15 and steps at most 16: no product of two bytes at once carries into the upper one.
  static I Step(I codes, const Steps& steps) {
    return _mm512_add_epi8(_mm512_mullo_epi16(codes, steps.step), steps.base);
  }

#include "kernels/cpu/grouped_vnni-inl.h"
  static I LoadCodes(const std::byte* from) { return _mm512_loadu_si512(from); }
  static I LowHalf(I codes) { return _mm512_and_si512(codes, _mm512_set1_epi8(15)); }
  static I HighHalf(I codes) { return _mm512_and_si512(_mm512_srli_epi16(codes, 4), _mm512_set1_epi8(15)); }
  template <WeightKind>
  static I Dot(I sum, I codes, int32_t four) {
    return _mm512_dpbusd_epi32(sum, codes, _mm512_set1_epi32(four));
  }
};

}  // namespace
}  // namespace dgemma
#include "kernels/cpu/grouped_rows-inl.h"
#include "kernels/cpu/grouped_tile-inl.h"
DGEMMA_END_TARGET

namespace dgemma {
const GroupedOps* Avx512VnniGroupedOps() {
  static constexpr GroupedOps kOps{"avx512 vnni", &MultiplyGrouped, &PeakGrouped};
  return &kOps;
}
}  // namespace dgemma
#else
namespace dgemma {
const GroupedOps* Avx512VnniGroupedOps() { return nullptr; }
}  // namespace dgemma
#endif

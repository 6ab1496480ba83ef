// Grouped products with AVX-VNNI: vpdpbusd on 256 bits, for processors without AVX-512.
#include "kernels/cpu/grouped_isa.h"

#if defined(__x86_64__)
#include <immintrin.h>

DGEMMA_BEGIN_TARGET("avx2,fma,f16c,avxvnni")
namespace dgemma {
namespace {

struct Isa {
#include "kernels/cpu/grouped_256-inl.h"
  static constexpr size_t kRowScaledRows = 6;
#include "kernels/cpu/grouped_vnni-inl.h"
  template <WeightKind>
  static constexpr bool kSignedCodes = false;
  template <WeightKind>
  static I Dot(I sum, I codes, int32_t four) {
    return _mm256_dpbusd_avx_epi32(sum, codes, _mm256_set1_epi32(four));
  }
};

}  // namespace
}  // namespace dgemma
#include "kernels/cpu/grouped_rows-inl.h"
#include "kernels/cpu/grouped_tile-inl.h"
DGEMMA_END_TARGET

namespace dgemma {
const GroupedOps* AvxVnniGroupedOps() {
  static constexpr GroupedOps kOps{"avx vnni", &MultiplyGrouped, &PeakGrouped};
  return &kOps;
}
}  // namespace dgemma
#else
namespace dgemma {
const GroupedOps* AvxVnniGroupedOps() { return nullptr; }
}  // namespace dgemma
#endif

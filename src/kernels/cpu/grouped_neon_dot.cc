// Grouped products on ARM with the dotprod extension: sdot takes the codes signed; those of int8 are turned from their stored form.
#include "kernels/cpu/grouped_isa.h"

#if defined(__aarch64__)
#include <arm_neon.h>

DGEMMA_BEGIN_TARGET("arch=armv8.2-a+dotprod")
namespace dgemma {
namespace {

struct Isa {
#include "kernels/cpu/grouped_neon-inl.h"
#include "kernels/cpu/grouped_vnni-inl.h"
  template <WeightKind kKind>
  static constexpr bool kSignedCodes = kKind == WeightKind::kInt8;
  template <WeightKind kKind>
  static I Dot(I sum, I codes, int32_t four) {
    uint8x16_t bytes = vreinterpretq_u8_s32(codes);
    if constexpr (kKind == WeightKind::kInt8) bytes = veorq_u8(bytes, vdupq_n_u8(0x80));
    return vdotq_s32(sum, vreinterpretq_s8_u8(bytes), vreinterpretq_s8_s32(vdupq_n_s32(four)));
  }
};

}  // namespace
}  // namespace dgemma
#include "kernels/cpu/grouped_rows-inl.h"
#include "kernels/cpu/grouped_tile-inl.h"
DGEMMA_END_TARGET

namespace dgemma {
const GroupedOps* NeonDotGroupedOps() {
  static constexpr GroupedOps kOps{"neon dotprod", &MultiplyGrouped, &PeakGrouped};
  return &kOps;
}
}  // namespace dgemma
#else
namespace dgemma {
const GroupedOps* NeonDotGroupedOps() { return nullptr; }
}  // namespace dgemma
#endif

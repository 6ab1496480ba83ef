// Grouped products on ARM with the i8mm extension: usdot takes the unsigned codes as they are stored.
#include "kernels/cpu/grouped_isa.h"

#if defined(__aarch64__)
#include <arm_neon.h>

DGEMMA_BEGIN_TARGET("arch=armv8.2-a+i8mm+dotprod")
namespace dgemma {
namespace {

struct Isa {
#include "kernels/cpu/grouped_neon-inl.h"
#include "kernels/cpu/grouped_vnni-inl.h"
  template <WeightKind>
  static constexpr bool kSignedCodes = false;
  template <WeightKind>
  static I Dot(I sum, I codes, int32_t four) {
    return vusdotq_s32(sum, vreinterpretq_u8_s32(codes), vreinterpretq_s8_s32(vdupq_n_s32(four)));
  }
};

}  // namespace
}  // namespace dgemma
#include "kernels/cpu/grouped_rows-inl.h"
#include "kernels/cpu/grouped_tile-inl.h"
DGEMMA_END_TARGET

namespace dgemma {
const GroupedOps* NeonI8mmGroupedOps() {
  static constexpr GroupedOps kOps{"neon i8mm", &MultiplyGrouped, &PeakGrouped};
  return &kOps;
}
}  // namespace dgemma
#else
namespace dgemma {
const GroupedOps* NeonI8mmGroupedOps() { return nullptr; }
}  // namespace dgemma
#endif

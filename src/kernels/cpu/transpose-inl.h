// Transposition of 4 x 4 floats. Re-included for every instruction set by the sources that use it.
#if defined(DGEMMA_KERNELS_CPU_TRANSPOSE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DGEMMA_KERNELS_CPU_TRANSPOSE_INL_H_
#undef DGEMMA_KERNELS_CPU_TRANSPOSE_INL_H_
#else
#define DGEMMA_KERNELS_CPU_TRANSPOSE_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dgemma {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// 4 x 4 floats: rows are 4 lanes of consecutive ids, results go to four ids' rows.
HWY_INLINE void Transpose4(const float* const (&from)[4], float* to, int64_t stride) {
#if HWY_TARGET == HWY_SCALAR
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t j = 0; j < 4; ++j) to[i * stride + j] = from[j][i];
  }
#else
  const hn::CappedTag<float, 4> d;
  const hn::RepartitionToWide<decltype(d)> dw;
  const auto r0 = hn::LoadU(d, from[0]), r1 = hn::LoadU(d, from[1]), r2 = hn::LoadU(d, from[2]),
             r3 = hn::LoadU(d, from[3]);
  const auto low01 = hn::BitCast(dw, hn::InterleaveLower(d, r0, r1)),
             low23 = hn::BitCast(dw, hn::InterleaveLower(d, r2, r3));
  const auto up01 = hn::BitCast(dw, hn::InterleaveUpper(d, r0, r1)),
             up23 = hn::BitCast(dw, hn::InterleaveUpper(d, r2, r3));
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dw, low01, low23)), d, to);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dw, low01, low23)), d, to + stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveLower(dw, up01, up23)), d, to + 2 * stride);
  hn::StoreU(hn::BitCast(d, hn::InterleaveUpper(dw, up01, up23)), d, to + 3 * stride);
#endif
}

}  // namespace HWY_NAMESPACE
}  // namespace dgemma
HWY_AFTER_NAMESPACE();

#endif

// Vectors at the ends of rows. Re-included for every instruction set by the sources that use it.
#if defined(DGEMMA_KERNELS_CPU_ROW_PARTS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DGEMMA_KERNELS_CPU_ROW_PARTS_INL_H_
#undef DGEMMA_KERNELS_CPU_ROW_PARTS_INL_H_
#else
#define DGEMMA_KERNELS_CPU_ROW_PARTS_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dgemma {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using RowTag = hn::CappedTag<float, 16>;
using RowVec = hn::Vec<RowTag>;
inline constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(RowTag()));

/// The first min(n, lanes) values, the rest `fill`.
HWY_INLINE RowVec LoadPart(const float* x, int64_t n, float fill) {
  const RowTag d;
  if (n >= kLanes) return hn::LoadU(d, x);
  alignas(64) float lanes[kLanes];
  for (int64_t i = 0; i < kLanes; ++i) lanes[i] = i < n ? x[i] : fill;
  return hn::Load(d, lanes);
}

HWY_INLINE void StorePart(RowVec v, int64_t n, float* x) {
  const RowTag d;
  if (n >= kLanes) {
    hn::StoreU(v, d, x);
    return;
  }
  alignas(64) float lanes[kLanes];
  hn::Store(v, d, lanes);
  for (int64_t i = 0; i < n; ++i) x[i] = lanes[i];
}

HWY_INLINE float Total(RowVec v) {
  const RowTag d;
  return hn::GetLane(hn::SumOfLanes(d, v));
}

}  // namespace HWY_NAMESPACE
}  // namespace dgemma
HWY_AFTER_NAMESPACE();

#endif

// Loops that reach the limits of a core: multiply-adds from registers, and sequential reads. Compiled for each instruction set.
#include "kernels/cpu/simd.h"
#include "kernels/cpu/tile.h"
#include "tensor/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/peak.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dgemma {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

double MultiplyAdd(int64_t rounds, float* sink) {
  const hn::CappedTag<float, 16> d;
  const auto factor = hn::Set(d, 0.5f), term = hn::Set(d, 1.0f);
  // Twelve chains: more than latency times throughput of any core this was written for, fewer than 16 registers.
  auto s0 = hn::Set(d, 0.0f), s1 = hn::Set(d, 0.1f), s2 = hn::Set(d, 0.2f), s3 = hn::Set(d, 0.3f);
  auto s4 = hn::Set(d, 0.4f), s5 = hn::Set(d, 0.5f), s6 = hn::Set(d, 0.6f), s7 = hn::Set(d, 0.7f);
  auto s8 = hn::Set(d, 0.8f), s9 = hn::Set(d, 0.9f), s10 = hn::Set(d, 1.0f), s11 = hn::Set(d, 1.1f);
  for (int64_t i = 0; i < rounds; ++i) {
    s0 = hn::MulAdd(factor, term, s0);
    s1 = hn::MulAdd(factor, term, s1);
    s2 = hn::MulAdd(factor, term, s2);
    s3 = hn::MulAdd(factor, term, s3);
    s4 = hn::MulAdd(factor, term, s4);
    s5 = hn::MulAdd(factor, term, s5);
    s6 = hn::MulAdd(factor, term, s6);
    s7 = hn::MulAdd(factor, term, s7);
    s8 = hn::MulAdd(factor, term, s8);
    s9 = hn::MulAdd(factor, term, s9);
    s10 = hn::MulAdd(factor, term, s10);
    s11 = hn::MulAdd(factor, term, s11);
  }
  const auto low = hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), hn::Add(s4, s5));
  const auto high = hn::Add(hn::Add(hn::Add(s6, s7), hn::Add(s8, s9)), hn::Add(s10, s11));
  *sink = hn::GetLane(hn::SumOfLanes(d, hn::Add(low, high)));
  return static_cast<double>(rounds) * 24.0 * static_cast<double>(hn::Lanes(d));
}

float Read(const float* x, int64_t n) {
  const hn::CappedTag<float, 16> d;
  constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(hn::CappedTag<float, 16>()));
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  for (int64_t i = 0; i < n; i += 4 * kLanes) {
    s0 = hn::Add(s0, hn::LoadU(d, x + i));
    s1 = hn::Add(s1, hn::LoadU(d, x + i + kLanes));
    s2 = hn::Add(s2, hn::LoadU(d, x + i + 2 * kLanes));
    s3 = hn::Add(s3, hn::LoadU(d, x + i + 3 * kLanes));
  }
  return hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
}

PeakOps MakePeakOps() {
#if HWY_TARGET == HWY_AVX3
  if (HasBf16Dots()) return {&MultiplyAdd, &DotPeak, &Read};
#endif
  return {&MultiplyAdd, &MultiplyAdd, &Read};
}

}  // namespace HWY_NAMESPACE
}  // namespace dgemma
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dgemma {
HWY_EXPORT(MakePeakOps);
PeakOps ChoosePeakOps() { return HWY_DYNAMIC_DISPATCH(MakePeakOps)(); }
}  // namespace dgemma
#endif

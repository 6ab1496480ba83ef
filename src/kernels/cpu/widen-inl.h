// Grouped weights back to float32. Re-included for every instruction set by the sources that use it.
#if defined(DGEMMA_KERNELS_CPU_WIDEN_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DGEMMA_KERNELS_CPU_WIDEN_INL_H_
#undef DGEMMA_KERNELS_CPU_WIDEN_INL_H_
#else
#define DGEMMA_KERNELS_CPU_WIDEN_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace dgemma {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// Sixteen halves as float32; null: zeros.
HWY_INLINE void WidenHalves(const std::byte* from, float* to) {
  const hn::CappedTag<float, 16> d;
  const hn::Rebind<uint16_t, decltype(d)> d16;
  const hn::Rebind<hwy::float16_t, decltype(d)> df16;
  for (size_t i = 0; i < 16; i += hn::MaxLanes(d)) {
    if (from == nullptr) {
      hn::StoreU(hn::Zero(d), d, to + i);
      continue;
    }
    const auto bits = hn::LoadU(d16, reinterpret_cast<const uint16_t*>(from) + i);
    hn::StoreU(hn::PromoteTo(d, hn::BitCast(df16, bits)), d, to + i);
  }
}

/// Codes of four lanes (4 bytes each) from four quads become the 16 bytes of each lane, columns in order.
HWY_INLINE void GatherLanes(const GroupedColumns& from, int64_t lane, uint8_t* to) {
#if HWY_TARGET == HWY_SCALAR
  for (size_t i = 0; i < 64; ++i) {
    const auto code = static_cast<uint32_t>(from.quads[i / 4 % 4][static_cast<size_t>(lane) * 4 + i / 16 * 4 + i % 4]);
    to[i] = static_cast<uint8_t>((from.high_half[i / 4 % 4] ? code >> 4 : code) & from.code_mask & 0xFF);
  }
#else
  const hn::CappedTag<uint32_t, 4> d;
  const hn::RepartitionToWide<decltype(d)> dw;
  const auto mask = hn::Set(d, from.code_mask);
  const auto load = [&](size_t q) HWY_ATTR {
    const auto codes = hn::LoadU(d, reinterpret_cast<const uint32_t*>(from.quads[q]) + lane);
    return hn::And(from.high_half[q] ? hn::ShiftRight<4>(codes) : codes, mask);
  };
  const auto q0 = load(0), q1 = load(1), q2 = load(2), q3 = load(3);
  const auto low01 = hn::BitCast(dw, hn::InterleaveLower(d, q0, q1)),
             low23 = hn::BitCast(dw, hn::InterleaveLower(d, q2, q3));
  const auto up01 = hn::BitCast(dw, hn::InterleaveUpper(d, q0, q1)),
             up23 = hn::BitCast(dw, hn::InterleaveUpper(d, q2, q3));
  const hn::Repartition<uint8_t, decltype(d)> d8;
  hn::StoreU(hn::BitCast(d8, hn::InterleaveLower(dw, low01, low23)), d8, to);
  hn::StoreU(hn::BitCast(d8, hn::InterleaveUpper(dw, low01, low23)), d8, to + 16);
  hn::StoreU(hn::BitCast(d8, hn::InterleaveLower(dw, up01, up23)), d8, to + 32);
  hn::StoreU(hn::BitCast(d8, hn::InterleaveUpper(dw, up01, up23)), d8, to + 48);
#endif
}

/// See ProductOps::widen.
void Widen(const GroupedColumns& from, float* to) {
  const hn::CappedTag<float, 16> d;
  const hn::Rebind<int32_t, decltype(d)> di;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  alignas(64) float scale[16];
  alignas(64) float min[16];
  WidenHalves(from.scale, scale);
  WidenHalves(from.min, min);
  const auto offset = hn::Set(d, from.offset);
  for (int64_t first = 0; first < 16; first += 4) {
    if ((from.lanes >> first & 15) == 0) continue;
    alignas(64) uint8_t codes[64];
    GatherLanes(from, first, codes);
    for (int64_t lane = first; lane < first + 4; ++lane) {
      if ((from.lanes >> lane & 1) == 0) continue;
      const auto s = hn::Set(d, scale[lane]), m = hn::Set(d, min[lane]);
      for (size_t i = 0; i < 16; i += hn::MaxLanes(d)) {
        const auto bytes = hn::LoadU(d8, codes + static_cast<size_t>(lane - first) * 16 + i);
        auto value = hn::PromoteTo(di, bytes);
        if (from.steps != nullptr) {
          const auto step = std::to_integer<int32_t>(from.steps[lane] & std::byte{15}) + 1;
          const auto base = std::to_integer<int32_t>(from.steps[kPanel + lane]);
          value = hn::And(hn::Add(hn::Mul(value, hn::Set(di, step)), hn::Set(di, base)), hn::Set(di, 255));
        }
        const auto code = hn::ConvertTo(d, value);
        hn::StoreU(hn::Sub(hn::Mul(s, hn::Sub(code, offset)), m), d, to + lane * kPanel + static_cast<int64_t>(i));
      }
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace dgemma
HWY_AFTER_NAMESPACE();

#endif

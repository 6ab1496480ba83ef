// Vector operations on single rows: norms, activations, rotary, softmax of a block, statistics of logits.
// Compiled once for each instruction set; everything above calls it through RowOps.
#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>

#include "kernels/cpu/simd.h"
#include "tensor/groups.h"
#include "tensor/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/rows.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "hwy/highway.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/row_parts-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dgemma {
namespace HWY_NAMESPACE {

float SumSquares(const float* x, int64_t n) {
  const RowTag d;
  RowVec s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    const RowVec v0 = hn::LoadU(d, x + i), v1 = hn::LoadU(d, x + i + kLanes);
    const RowVec v2 = hn::LoadU(d, x + i + 2 * kLanes), v3 = hn::LoadU(d, x + i + 3 * kLanes);
    s0 = hn::MulAdd(v0, v0, s0);
    s1 = hn::MulAdd(v1, v1, s1);
    s2 = hn::MulAdd(v2, v2, s2);
    s3 = hn::MulAdd(v3, v3, s3);
  }
  for (; i < n; i += kLanes) {
    const RowVec v = LoadPart(x + i, n - i, 0.0f);
    s0 = hn::MulAdd(v, v, s0);
  }
  return Total(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)));
}

void Scale(const float* x, int64_t n, float scale, const float* weight, float* out) {
  const RowTag d;
  const RowVec factor = hn::Set(d, scale);
  for (int64_t i = 0; i < n; i += kLanes) {
    RowVec v = hn::Mul(LoadPart(x + i, n - i, 0.0f), factor);
    if (weight != nullptr) v = hn::Mul(v, LoadPart(weight + i, n - i, 0.0f));
    StorePart(v, n - i, out + i);
  }
}

void Add(const float* x, const float* y, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += kLanes) {
    StorePart(hn::Add(LoadPart(x + i, n - i, 0.0f), LoadPart(y + i, n - i, 0.0f)), n - i, out + i);
  }
}

void AddScaled(const float* x, int64_t n, float scale, const float* weight, float factor, float* sum) {
  const RowTag d;
  const RowVec by = hn::Set(d, scale), times = hn::Set(d, factor);
  for (int64_t i = 0; i < n; i += kLanes) {
    const RowVec scaled = hn::Mul(hn::Mul(LoadPart(x + i, n - i, 0.0f), by), LoadPart(weight + i, n - i, 0.0f));
    StorePart(hn::Mul(hn::Add(LoadPart(sum + i, n - i, 0.0f), scaled), times), n - i, sum + i);
  }
}

void WeightedSum(const float* x, int64_t stride, std::span<const int64_t> place, const float* weight, int64_t n,
                 float* out) {
  const RowTag d;
  for (int64_t i = 0; i < n; i += kLanes) {
    RowVec sum = hn::Zero(d);
    for (size_t k = 0; k < place.size(); ++k)
      sum = hn::MulAdd(LoadPart(x + place[k] * stride + i, n - i, 0.0f), hn::Set(d, weight[k]), sum);
    StorePart(sum, n - i, out + i);
  }
}

void Divide(const float* x, int64_t n, float divisor, float* out) {
  const RowTag d;
  const RowVec by = hn::Set(d, divisor);
  for (int64_t i = 0; i < n; i += kLanes) StorePart(hn::Div(LoadPart(x + i, n - i, 0.0f), by), n - i, out + i);
}

void GeluMultiply(const float* gate, const float* up, int64_t n, float* out) {
  const RowTag d;
  for (int64_t i = 0; i < n; i += kLanes) {
    const RowVec activated = Gelu(d, LoadPart(gate + i, n - i, 0.0f));
    StorePart(hn::Mul(activated, LoadPart(up + i, n - i, 0.0f)), n - i, out + i);
  }
}

void Rotate(const float* cos, const float* sin, int64_t pairs, int64_t half, float* x) {
  for (int64_t i = 0; i < pairs; i += kLanes) {
    const int64_t n = pairs - i;
    const RowVec c = LoadPart(cos + i, n, 0.0f), s = LoadPart(sin + i, n, 0.0f);
    const RowVec a = LoadPart(x + i, n, 0.0f), b = LoadPart(x + half + i, n, 0.0f);
    StorePart(hn::Sub(hn::Mul(a, c), hn::Mul(b, s)), n, x + i);
    StorePart(hn::Add(hn::Mul(b, c), hn::Mul(a, s)), n, x + half + i);
  }
}

float SoftmaxBlock(float* scores, int64_t begin, int64_t end, SoftmaxState& state) {
  const RowTag d;
  const RowVec lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  const RowVec from = hn::Set(d, static_cast<float>(begin)), to = hn::Set(d, static_cast<float>(end));
  const int64_t first = begin / kLanes * kLanes;
  RowVec max = hn::Set(d, state.max);
  for (int64_t i = first; i < end; i += kLanes) {
    const RowVec place = hn::Iota(d, static_cast<float>(i));
    const auto seen = hn::And(hn::Ge(place, from), hn::Lt(place, to));
    max = hn::Max(max, hn::IfThenElse(seen, hn::LoadU(d, scores + i), lowest));
  }
  const float highest = hn::GetLane(hn::MaxOfLanes(d, max));
  const RowVec shift = hn::Set(d, highest);
  RowVec sum = hn::Zero(d);
  for (int64_t i = first; i < end; i += kLanes) {
    const RowVec place = hn::Iota(d, static_cast<float>(i));
    const auto seen = hn::And(hn::Ge(place, from), hn::Lt(place, to));
    const RowVec e = hn::IfThenElseZero(seen, Exp(d, hn::Sub(hn::LoadU(d, scores + i), shift)));
    hn::StoreU(e, d, scores + i);
    sum = hn::Add(sum, e);
  }
  const float factor = hn::GetLane(Exp(d, hn::Set(d, state.max == highest ? 0.0f : state.max - highest)));
  state.max = highest;
  state.sum = state.sum * factor + Total(sum);
  return factor;
}

template <class D>
HWY_INLINE RowVec Capped(D d, RowVec x, RowVec softcap) {
  return hn::Mul(Tanh(d, hn::Div(x, softcap)), softcap);
}

void Softcap(float* x, int64_t n, float softcap) {
  const RowTag d;
  const RowVec cap = hn::Set(d, softcap);
  for (int64_t i = 0; i < n; i += kLanes) StorePart(Capped(d, LoadPart(x + i, n - i, 0.0f), cap), n - i, x + i);
}

/// Maximum and finiteness: x - x is 0 for finite values and NaN otherwise.
struct Inspection {
  RowVec max;
  RowVec defect;
};

HWY_INLINE void Inspect(RowVec v, Inspection& found) {
  found.max = hn::Max(found.max, v);
  found.defect = hn::Add(found.defect, hn::Sub(v, v));
}

HWY_INLINE LogitStats Finish(const Inspection& found) {
  const RowTag d;
  return {hn::GetLane(hn::MaxOfLanes(d, found.max)), Total(found.defect) == 0.0f};
}

HWY_INLINE Inspection NothingFound() {
  const RowTag d;
  return {hn::Set(d, -std::numeric_limits<float>::infinity()), hn::Zero(d)};
}

LogitStats Temper(float* x, int64_t n, float softcap, float temperature) {
  const RowTag d;
  const RowVec cap = hn::Set(d, softcap), by = hn::Set(d, temperature);
  Inspection found = NothingFound();
  for (int64_t i = 0; i < n; i += kLanes) {  // places beyond n repeat the first value of the vector: no new maximum
    const RowVec v = hn::Div(Capped(d, LoadPart(x + i, n - i, x[i]), cap), by);
    StorePart(v, n - i, x + i);
    Inspect(v, found);
  }
  return Finish(found);
}

LogitStats InspectRow(const float* x, int64_t n) {
  const RowTag d;
  const RowVec lowest = hn::Set(d, -std::numeric_limits<float>::infinity());
  Inspection found = NothingFound();
  for (int64_t i = 0; i < n; i += kLanes) {
    const RowVec v = LoadPart(x + i, n - i, x[i]);
    Inspect(hn::IfThenElse(hn::Eq(v, lowest), hn::Set(d, -FLT_MAX), v), found);
  }
  return Finish(found);
}

ExpSums Exponentiate(float* x, int64_t n, float max) {
  const RowTag d;
  const RowVec shift = hn::Set(d, max);
  RowVec sum = hn::Zero(d), weighted = sum;
  for (int64_t i = 0; i < n; i += kLanes) {
    // Far below any exponent that counts, and finite, so that e * shifted is 0 beyond n and for values of minus infinity.
    const RowVec shifted = hn::Max(hn::Sub(LoadPart(x + i, n - i, -FLT_MAX), shift), hn::Set(d, -1e30f));
    const RowVec e = Exp(d, shifted);
    StorePart(e, n - i, x + i);
    sum = hn::Add(sum, e);
    weighted = hn::MulAdd(e, shifted, weighted);
  }
  return {Total(sum), Total(weighted)};
}

CodedRow Quantize(const float* x, int64_t n, int8_t* code) {
  const RowTag d;
  const hn::RebindToSigned<RowTag> di;
  const hn::Rebind<int8_t, RowTag> d8;
  RowVec most = hn::Zero(d);
  auto finite = hn::Eq(most, most);
  for (int64_t i = 0; i < n; i += kLanes) {
    const RowVec magnitude = hn::Abs(LoadPart(x + i, n - i, 0.0f));
    most = hn::Max(most, magnitude);
    finite = hn::And(finite, hn::Le(magnitude, hn::Set(d, FLT_MAX)));
  }
  const float largest = hn::GetLane(hn::MaxOfLanes(d, most));
  const bool all_finite = hn::AllTrue(d, finite);
  if (largest < kLeastActivation || !all_finite) {
    std::fill_n(code, n, int8_t{0});
    return {all_finite ? 0.0f : std::numeric_limits<float>::quiet_NaN(), 0};
  }
  const RowVec inverse = hn::Set(d, 127.0f / largest);
  auto sum = hn::Zero(di);
  for (int64_t i = 0; i < n; i += kLanes) {
    const auto nearest = hn::NearestInt(hn::Mul(LoadPart(x + i, n - i, 0.0f), inverse));
    const auto codes = hn::DemoteTo(d8, nearest);
    sum = hn::Add(sum, nearest);
    if (n - i >= kLanes) {
      hn::StoreU(codes, d8, code + i);
    } else {
      alignas(64) int8_t lanes[kLanes];
      hn::Store(codes, d8, lanes);
      std::copy_n(lanes, n - i, code + i);
    }
  }
  return {largest / 127.0f, hn::GetLane(hn::SumOfLanes(di, sum))};
}

void RoundBf16(const float* x, int64_t n, uint16_t* out) {
  const RowTag d;
  const hn::RebindToSigned<RowTag> di;
  const hn::Rebind<uint16_t, RowTag> d16;
  for (int64_t i = 0; i < n; i += kLanes) {
    const auto halves = hn::DemoteTo(d16, hn::BitCast(di, Bf16Bits(d, LoadPart(x + i, n - i, 0.0f))));
    if (n - i >= kLanes) {
      hn::StoreU(halves, d16, out + i);
    } else {
      alignas(64) uint16_t lanes[kLanes];
      hn::Store(halves, d16, lanes);
      std::copy_n(lanes, n - i, out + i);
    }
  }
}

AboveThreshold Above(const float* x, int64_t n, float threshold) {
  const RowTag d;
  const RowVec limit = hn::Set(d, threshold);
  RowVec below = hn::Zero(d);
  int64_t count = 0;
  for (int64_t i = 0; i < n; i += kLanes) {
    const RowVec v = LoadPart(x + i, n - i, 0.0f);
    const auto over = hn::Gt(v, limit);
    count += static_cast<int64_t>(hn::CountTrue(d, over));
    below = hn::Add(below, hn::IfThenZeroElse(over, v));
  }
  return {count, Total(below)};
}

int64_t ListAbove(const float* x, int64_t n, float threshold, uint8_t* places) {
  const RowTag d;
  const RowVec limit = hn::Set(d, threshold);
  int64_t found = 0;
  for (int64_t i = 0; i < n; i += kLanes) {
    uint8_t bytes[8] = {};
    hn::StoreMaskBits(d, hn::Gt(LoadPart(x + i, n - i, threshold), limit), bytes);
    uint32_t bits = 0;
    std::memcpy(&bits, bytes, sizeof(bits));
    for (bits &= (1u << kLanes) - 1; bits != 0; bits &= bits - 1) {
      places[found++] = static_cast<uint8_t>(i + std::countr_zero(bits));
    }
  }
  return found;
}

void SumCodes(const int8_t* code, int64_t groups, int32_t* sum) {
  for (int64_t g = 0; g < groups; ++g) {
#if HWY_TARGET == HWY_SCALAR
    sum[g] = std::accumulate(code + 16 * g, code + 16 * (g + 1), 0);
#else
    const hn::CappedTag<uint8_t, 16> d8;  // code + 128 is not negative: eight of them at a time
    const auto codes = hn::LoadU(d8, reinterpret_cast<const uint8_t*>(code) + 16 * g);
    const auto eights = hn::SumsOf8(hn::Xor(codes, hn::Set(d8, uint8_t{0x80})));
    sum[g] = static_cast<int32_t>(hn::GetLane(eights) + hn::ExtractLane(eights, 1)) - 16 * 128;
#endif
  }
}

RowOps MakeRowOps() {
  return {&SumSquares,   &Scale,  &Add,          &AddScaled, &WeightedSum, &Divide,
          &GeluMultiply, &Rotate, &SoftmaxBlock, &Softcap,   &Temper,      &InspectRow,
          &Exponentiate, &Above,  &ListAbove,    &Quantize,  &SumCodes,    &RoundBf16};
}

}  // namespace HWY_NAMESPACE
}  // namespace dgemma
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dgemma {
HWY_EXPORT(MakeRowOps);
RowOps ChooseRowOps() { return HWY_DYNAMIC_DISPATCH(MakeRowOps)(); }
}  // namespace dgemma
#endif

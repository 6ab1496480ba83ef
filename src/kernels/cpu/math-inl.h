// Vector exp, tanh and gelu in float32. NaN stays NaN. Re-included for every instruction set by the sources that use it.
#if defined(DGEMMA_KERNELS_CPU_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DGEMMA_KERNELS_CPU_MATH_INL_H_
#undef DGEMMA_KERNELS_CPU_MATH_INL_H_
#else
#define DGEMMA_KERNELS_CPU_MATH_INL_H_
#endif

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace dgemma {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

/// ToBf16 of tensor/rounding.h, in the low half of every lane.
template <class D, class V = hn::Vec<D>>
HWY_INLINE hn::Vec<hn::RebindToUnsigned<D>> Bf16Bits(D /*d*/, V v) {
  const hn::RebindToUnsigned<D> du;
  const auto bits = hn::BitCast(du, v), high = hn::ShiftRight<16>(bits);
  const auto odd = hn::And(high, hn::Set(du, 1u));
  const auto nearest = hn::ShiftRight<16>(hn::Add(hn::Add(bits, hn::Set(du, 0x7FFFu)), odd));
  const auto quiet = hn::Or(high, hn::Set(du, 0x40u));
  return hn::IfThenElse(hn::RebindMask(du, hn::IsNaN(v)), quiet, nearest);
}

/// e^x to 2 ulp for x <= 88; 0 below -87.3 (where float32 would be subnormal); about 1.65e38 above 88.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x) {
  const hn::RebindToSigned<D> di;
  const V lowest = hn::Set(d, -87.3f);
  // x = n ln 2 + r with |r| <= 0.35; ln 2 in two parts so that n ln 2 loses nothing.
  const V clamped = hn::Min(hn::Max(x, lowest), hn::Set(d, 88.0f));
  const V n = hn::Round(hn::Mul(clamped, hn::Set(d, 1.44269504088896341f)));
  const V r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), hn::NegMulAdd(n, hn::Set(d, 0.693359375f), clamped));
  // Taylor to r^7: the first dropped term is below 0.1 ulp.
  V p = hn::Set(d, 1.0f / 5040);
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 720));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 120));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 24));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 6));
  p = hn::MulAdd(p, r, hn::Set(d, 0.5f));
  p = hn::MulAdd(p, hn::Mul(r, r), hn::Add(r, hn::Set(d, 1.0f)));
  const auto power = hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(di, n), hn::Set(di, 127)));
  const V scaled = hn::Mul(p, hn::BitCast(d, power));
  const V flushed = hn::IfThenElse(hn::Lt(x, lowest), hn::Zero(d), scaled);
  return hn::IfThenElse(hn::IsNaN(x), x, flushed);
}

/// tanh to 3 ulp: a polynomial near 0 (minimax fit of (tanh x - x) / x^3 in x^2, relative error below 1e-8), e^2x beyond.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Tanh(D d, V x) {
  const V magnitude = hn::Abs(x);
  const V one = hn::Set(d, 1.0f), two = hn::Set(d, 2.0f);
  const V square = hn::Mul(x, x);
  V p = hn::Set(d, -0.005666942335665226f);
  p = hn::MulAdd(p, square, hn::Set(d, 0.020606141537427902f));
  p = hn::MulAdd(p, square, hn::Set(d, -0.05372999608516693f));
  p = hn::MulAdd(p, square, hn::Set(d, 0.13331331312656403f));
  p = hn::MulAdd(p, square, hn::Set(d, -0.33333277702331543f));
  const V near = hn::MulAdd(hn::Mul(p, square), x, x);
  const V capped = hn::Min(magnitude, hn::Set(d, 20.0f));
  const V far = hn::Sub(one, hn::Div(two, hn::Add(Exp(d, hn::Add(capped, capped)), one)));
  const V result = hn::IfThenElse(hn::Lt(magnitude, hn::Set(d, 0.63f)), near, hn::CopySign(far, x));
  return hn::IfThenElse(hn::IsNaN(x), x, result);
}

/// 0.5 v (1 + tanh u) = v / (1 + e^-2u), u = sqrt(2/pi) (v + 0.044715 v^3): the second form keeps relative precision for v < 0.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Gelu(D d, V v) {
  const V cubic = hn::MulAdd(hn::Mul(hn::Mul(v, v), v), hn::Set(d, 0.044715f), v);
  const V exponential = Exp(d, hn::Mul(cubic, hn::Set(d, -1.59576912160573071f)));
  return hn::Div(v, hn::Add(hn::Set(d, 1.0f), exponential));
}

}  // namespace HWY_NAMESPACE
}  // namespace dgemma
HWY_AFTER_NAMESPACE();

#endif

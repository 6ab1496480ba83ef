// One lane a candidate. What is summed in float32 are whole numbers below 2^24, so it is exact in any order; what is not exact is
// added up in float64 value by value. Compiled once for each instruction set.
#include "tensor/fit.h"

#include <algorithm>
#include <bit>
#include <cfloat>
#include <cmath>
#include <limits>

#include "tensor/ggml_layout.h"
#include "tensor/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tensor/fit.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "hwy/highway.h"

#ifndef DGEMMA_TENSOR_FIT_TYPES
#define DGEMMA_TENSOR_FIT_TYPES
namespace dgemma {
namespace {

/// Whole vectors of every instruction set.
constexpr size_t kTrials = kMostCandidates;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// What values are divided by, one lane a trial. Spare lanes repeat the last trial, so that they are never the first of the best.
struct Trials {
  alignas(64) std::array<float, kTrials> divisor;
  size_t count;

  /// size / (end + first / 10), size / (end + (first + 1) / 10), ...
  Trials(float size, float end, int32_t first, int32_t trials) : count(static_cast<size_t>(trials)) {
    for (int32_t i = 0; i < static_cast<int32_t>(kTrials); ++i) {
      const float trial = size / (end + 0.1f * static_cast<float>(first + std::min(i, trials - 1)));
      divisor[static_cast<size_t>(i)] = trial == 0 ? kInfinity : trial;  // all codes are that of 0
    }
  }
  explicit Trials(std::span<const float> trials) : count(trials.size()) {
    for (size_t i = 0; i < kTrials; ++i) {
      const float trial = trials[std::min(i, trials.size() - 1)];
      divisor[i] = trial == 0 ? kInfinity : trial;
    }
  }
};

/// What came of trials or candidates, with w the values of the group and c their codes.
struct Tried {
  alignas(64) std::array<double, kTrials> wc, cc, c;   ///< sums
  alignas(64) std::array<double, kTrials> scale, min;  ///< where a trial solves for both
  alignas(64) std::array<double, kTrials> error;       ///< sum of squares, or what it is more than that of the values
  size_t best;                                         ///< the first trial with the least error
};

/// Candidates for LeastError; spare lanes are not finite.
struct Candidates {
  alignas(64) std::array<float, kTrials> scale, min;
  size_t count;

  explicit Candidates(std::span<const ScaleAndMin> candidates) : count(candidates.size()) {
    scale.fill(kInfinity);
    min.fill(0);
    for (size_t i = 0; i < count; ++i) {
      scale[i] = candidates[i].scale;
      min[i] = candidates[i].min;
    }
  }
};

/// Borders between neighbours of kIq4Values: the code of a ratio is the number of those below it.
constexpr size_t kIq4Borders = kIq4Values.size() - 1;
constexpr auto kIq4Border = [] {
  std::array<float, kIq4Borders> border{};
  for (size_t i = 0; i < kIq4Borders; ++i) border[i] = static_cast<float>(kIq4Values[i] + kIq4Values[i + 1]) / 2;
  return border;
}();
constexpr auto kIq4Step = [] {
  std::array<float, kIq4Borders> step{};
  for (size_t i = 0; i < kIq4Borders; ++i) step[i] = static_cast<float>(kIq4Values[i + 1] - kIq4Values[i]);
  return step;
}();

/// The codes that a value gets from some trials: all between these.
struct Iq4Reach {
  std::array<size_t, 32> first{}, last{};
};

}  // namespace
}  // namespace dgemma
#endif

HWY_BEFORE_NAMESPACE();
namespace dgemma {
namespace HWY_NAMESPACE {
namespace {
namespace hn = hwy::HWY_NAMESPACE;

/// Values, one a lane.
using FloatTag = hn::CappedTag<float, 16>;
constexpr size_t kFloats = hn::MaxLanes(FloatTag());
/// Trials, one a lane: numbers of float32 and as many sums of float64.
using DoubleTag = hn::CappedTag<double, 8>;
using TrialTag = hn::Rebind<float, DoubleTag>;
using Doubles = hn::Vec<DoubleTag>;
using TrialFloats = hn::Vec<TrialTag>;
constexpr size_t kLanes = hn::MaxLanes(DoubleTag());

/// Nearest codes of a vector of ratios.
template <class D>
struct Nearest {
  explicit Nearest(CodeRange codes)
      : lowest(hn::Set(D(), static_cast<float>(codes.lowest))),
        highest(hn::Set(D(), static_cast<float>(codes.highest))) {}
  HWY_INLINE hn::Vec<D> operator()(hn::Vec<D> ratio) const {
    return hn::Round(hn::Min(hn::Max(ratio, lowest), highest));
  }
  hn::Vec<D> lowest, highest;
};

/// Sums of every trial; `code(i, divisor)` are the codes of value i.
template <typename Code>
HWY_INLINE void SumTrials(std::span<const float> group, const Trials& trials, const Code& code, Tried& tried) {
  const TrialTag d;
  const DoubleTag dd;
  for (size_t t = 0; t < trials.count; t += kLanes) {
    const TrialFloats divisor = hn::Load(d, trials.divisor.data() + t);
    TrialFloats c = hn::Zero(d), cc = hn::Zero(d);
    Doubles wc = hn::Zero(dd);
    for (size_t i = 0; i < group.size(); ++i) {
      const TrialFloats codes = code(i, divisor);
      c = hn::Add(c, codes);
      cc = hn::MulAdd(codes, codes, cc);
      // 24 and 8 bits: the product is exact.
      wc = hn::MulAdd(hn::Set(dd, static_cast<double>(group[i])), hn::PromoteTo(dd, codes), wc);
    }
    hn::Store(hn::PromoteTo(dd, c), dd, tried.c.data() + t);
    hn::Store(hn::PromoteTo(dd, cc), dd, tried.cc.data() + t);
    hn::Store(wc, dd, tried.wc.data() + t);
  }
}

/// Errors that are not numbers are never the least.
void FindBest(size_t count, Tried& tried) {
  const DoubleTag dd;
  Doubles least = hn::Set(dd, std::numeric_limits<double>::infinity());
  for (size_t t = 0; t < count; t += kLanes) {
    const Doubles error = hn::Load(dd, tried.error.data() + t);
    least = hn::IfThenElse(hn::Lt(error, least), error, least);
  }
  // Highway's MinOfLanes wants finite numbers.
  alignas(64) std::array<double, kLanes> lanes;
  hn::Store(least, dd, lanes.data());
  const Doubles best = hn::Set(dd, *std::ranges::min_element(lanes));
  tried.best = 0;
  for (size_t t = 0; t < count; t += kLanes) {
    const auto equal = hn::Eq(hn::Load(dd, tried.error.data() + t), best);
    if (hn::AllFalse(dd, equal)) continue;
    tried.best = t + static_cast<size_t>(hn::FindFirstTrue(dd, equal));
    break;
  }
}

/// Least squares of every coding without a minimum. The best error is 0 where no coding explains anything.
void SolveScales(size_t count, Tried& tried) {
  const DoubleTag dd;
  for (size_t t = 0; t < count; t += kLanes) {
    const Doubles wc = hn::Load(dd, tried.wc.data() + t), cc = hn::Load(dd, tried.cc.data() + t);
    const auto coded = hn::Gt(cc, hn::Zero(dd));
    hn::Store(hn::Neg(hn::IfThenElseZero(coded, hn::Div(hn::Mul(wc, wc), cc))), dd, tried.error.data() + t);
  }
  FindBest(count, tried);
}

/// Least squares of every coding with min >= 0.
void SolveScalesAndMins(std::span<const float> group, size_t count, Tried& tried) {
  const DoubleTag dd;
  double total = 0, squares = 0;
  for (const float value : group) {
    const auto v = static_cast<double>(value);
    total += v;
    squares += v * v;
  }
  const Doubles zero = hn::Zero(dd), two = hn::Set(dd, 2.0), n = hn::Set(dd, static_cast<double>(group.size())),
                w = hn::Set(dd, total), ww = hn::Set(dd, squares);
  for (size_t t = 0; t < count; t += kLanes) {
    const Doubles wc = hn::Load(dd, tried.wc.data() + t), cc = hn::Load(dd, tried.cc.data() + t),
                  c = hn::Load(dd, tried.c.data() + t);
    const Doubles determinant = hn::Sub(hn::Mul(n, cc), hn::Mul(c, c));
    const Doubles slope = hn::Div(hn::Sub(hn::Mul(n, wc), hn::Mul(c, w)), determinant);
    const Doubles free = hn::IfThenElseZero(hn::Gt(determinant, zero), slope);
    const Doubles free_min = hn::Div(hn::Sub(hn::Mul(free, c), w), n);
    const Doubles bound = hn::IfThenElseZero(hn::Gt(cc, zero), hn::Div(wc, cc));  // with min = 0
    const auto negative = hn::Lt(free_min, zero);
    const Doubles scale = hn::IfThenElse(negative, bound, free), min = hn::IfThenElse(negative, zero, free_min);
    // ww - 2 (scale wc - min w) + scale^2 cc - 2 scale min c + n min^2
    Doubles error = hn::Sub(ww, hn::Mul(two, hn::Sub(hn::Mul(scale, wc), hn::Mul(min, w))));
    error = hn::Add(error, hn::Mul(hn::Mul(scale, scale), cc));
    error = hn::Sub(error, hn::Mul(hn::Mul(hn::Mul(two, scale), min), c));
    error = hn::Add(error, hn::Mul(hn::Mul(n, min), min));
    hn::Store(scale, dd, tried.scale.data() + t);
    hn::Store(min, dd, tried.min.data() + t);
    hn::Store(error, dd, tried.error.data() + t);
  }
  FindBest(count, tried);
}

/// Codes of value - begin.
HWY_INLINE void SumCodings(std::span<const float> group, float begin, CodeRange range, const Trials& trials,
                           Tried& tried) {
  const Nearest<TrialTag> nearest(range);
  const auto code = [&](size_t i, TrialFloats divisor)
                        HWY_ATTR { return nearest(hn::Div(hn::Set(TrialTag(), group[i] - begin), divisor)); };
  SumTrials(group, trials, code, tried);
}

void TryScales(std::span<const float> group, CodeRange range, const Trials& trials, Tried& tried) {
  SumCodings(group, 0, range, trials, tried);
  SolveScales(trials.count, tried);
}

void TryScalesAndMins(std::span<const float> group, float begin, CodeRange range, const Trials& trials, Tried& tried) {
  SumCodings(group, begin, range, trials, tried);
  SolveScalesAndMins(group, trials.count, tried);
}

void TryIq4Scales(std::span<const float> group, const Iq4Reach& reach, const Trials& trials, Tried& tried) {
  const TrialTag d;
  const auto code = [&](size_t i, TrialFloats divisor) HWY_ATTR {
    const TrialFloats ratio = hn::Div(hn::Set(d, group[i]), divisor);
    TrialFloats value = hn::Set(d, static_cast<float>(kIq4Values[reach.first[i]]));
    for (size_t b = reach.first[i]; b < reach.last[i]; ++b) {
      const auto above = hn::Gt(ratio, hn::Set(d, kIq4Border[b]));
      value = hn::Add(value, hn::IfThenElseZero(above, hn::Set(d, kIq4Step[b])));
    }
    return value;
  };
  SumTrials(group, trials, code, tried);
  SolveScales(trials.count, tried);
}

void TryCandidates(std::span<const float> group, std::span<const float> importance, CodeRange range,
                   const Candidates& candidates, Tried& tried) {
  const TrialTag d;
  const DoubleTag dd;
  const Nearest<TrialTag> nearest(range);
  for (size_t t = 0; t < candidates.count; t += kLanes) {
    const TrialFloats scale = hn::Load(d, candidates.scale.data() + t), min = hn::Load(d, candidates.min.data() + t);
    const TrialFloats divisor = hn::IfThenElse(hn::Eq(scale, hn::Zero(d)), hn::Set(d, kInfinity), scale);
    Doubles error = hn::Zero(dd);
    for (size_t i = 0; i < group.size(); ++i) {
      const TrialFloats code = nearest(hn::Div(hn::Add(hn::Set(d, group[i]), min), divisor));
      const TrialFloats back = hn::Sub(hn::Mul(scale, code), min);
      const Doubles off = hn::Sub(hn::Set(dd, static_cast<double>(group[i])), hn::PromoteTo(dd, back));
      const Doubles weight = hn::Set(dd, importance.empty() ? 1.0 : static_cast<double>(importance[i]));
      error = hn::Add(error, hn::Mul(hn::Mul(weight, off), off));
    }
    hn::Store(error, dd, tried.error.data() + t);
  }
  FindBest(candidates.count, tried);
}

Extremes ExtremesOf(std::span<const float> values) {
  const FloatTag d;
  float low = values.front(), high = low;
  size_t i = 0;
  if (values.size() >= kFloats) {
    auto least = hn::LoadU(d, values.data()), most = least;
    for (i = kFloats; i + kFloats <= values.size(); i += kFloats) {
      const auto v = hn::LoadU(d, values.data() + i);
      least = hn::Min(least, v);
      most = hn::Max(most, v);
    }
    low = hn::GetLane(hn::MinOfLanes(d, least));
    high = hn::GetLane(hn::MaxOfLanes(d, most));
  }
  for (; i < values.size(); ++i) {
    low = std::min(low, values[i]);
    high = std::max(high, values[i]);
  }
  return {low, high};
}

/// A vector of codes at a time; what is left over goes through a copy.
template <typename Code>
HWY_INLINE void StoreCodes(std::span<const float> values, const Code& code_of, int8_t* code) {
  const FloatTag d;
  const hn::RebindToSigned<FloatTag> di;
  const hn::Rebind<int8_t, FloatTag> d8;
  for (size_t i = 0; i < values.size(); i += kFloats) {
    const size_t count = std::min(kFloats, values.size() - i);
    alignas(64) std::array<float, kFloats> part{};
    if (count < kFloats) std::copy_n(values.data() + i, count, part.data());
    const auto v = count < kFloats ? hn::Load(d, part.data()) : hn::LoadU(d, values.data() + i);
    const auto codes = hn::DemoteTo(d8, hn::ConvertTo(di, code_of(v)));
    if (count == kFloats) {
      hn::StoreU(codes, d8, code + i);
    } else {
      alignas(64) std::array<int8_t, kFloats> lanes;
      hn::Store(codes, d8, lanes.data());
      std::copy_n(lanes.data(), count, code + i);
    }
  }
}

void StoreNearest(std::span<const float> values, ScaleAndMin fit, CodeRange range, int8_t* code) {
  const FloatTag d;
  const Nearest<FloatTag> nearest(range);
  const auto min = hn::Set(d, fit.min), divisor = hn::Set(d, fit.scale == 0 ? kInfinity : fit.scale);
  StoreCodes(values, [&](hn::Vec<FloatTag> v) HWY_ATTR { return nearest(hn::Div(hn::Add(v, min), divisor)); }, code);
}

void StoreNearestIq4(std::span<const float> values, float scale, int8_t* code) {
  const FloatTag d;
  const auto divisor = hn::Set(d, scale == 0 ? kInfinity : scale), one = hn::Set(d, 1.0f);
  const auto index = [&](hn::Vec<FloatTag> v) HWY_ATTR {
    const auto ratio = hn::Div(v, divisor);
    auto below = hn::Zero(d);
    for (const float border : kIq4Border)
      below = hn::Add(below, hn::IfThenElseZero(hn::Gt(ratio, hn::Set(d, border)), one));
    return below;
  };
  StoreCodes(values, index, code);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace dgemma
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dgemma {
namespace {

HWY_EXPORT(TryScales);
HWY_EXPORT(TryIq4Scales);
HWY_EXPORT(TryScalesAndMins);
HWY_EXPORT(TryCandidates);
HWY_EXPORT(ExtremesOf);
HWY_EXPORT(StoreNearest);
HWY_EXPORT(StoreNearestIq4);

/// The value of largest magnitude, the positive one of two that are alike.
float LargestOf(std::span<const float> values) {
  const auto [low, high] = FindExtremes(values);
  return -low > high ? low : high;
}

}  // namespace

Extremes FindExtremes(std::span<const float> values) { return HWY_DYNAMIC_DISPATCH(ExtremesOf)(values); }

float FitScale(std::span<const float> group, CodeRange codes) {
  const Trials trials(LargestOf(group), static_cast<float>(codes.lowest), -12, 25);
  Tried tried;
  HWY_DYNAMIC_DISPATCH(TryScales)(group, codes, trials, tried);
  const size_t best = tried.best;
  return tried.error[best] < 0 ? static_cast<float>(tried.wc[best] / tried.cc[best]) : 0;
}

ScaleAndMin FitScaleAndMin(std::span<const float, 32> group, int32_t highest) {
  const auto [low, high] = FindExtremes(group);
  const float begin = std::min(0.0f, low), range = std::max(0.0f, high) - begin;
  if (!std::isfinite(range)) return {kInfinity, 0};
  const Trials trials(range, static_cast<float>(highest), -8, 21);
  Tried tried;
  HWY_DYNAMIC_DISPATCH(TryScalesAndMins)(group, begin, {0, highest}, trials, tried);
  return {static_cast<float>(tried.scale[tried.best]), static_cast<float>(tried.min[tried.best])};
}

float FitIq4Scale(std::span<const float, 32> group) {
  constexpr int32_t kLast = 320;
  const float largest = LargestOf(group);
  if (largest == 0) return 0;
  const auto trial = [largest](int32_t candidate) {
    return largest / (-127.0f + 0.1f * static_cast<float>(candidate - kLast / 2));
  };
  // From one candidate to the next most codings stay what they are. A ratio grows or falls all along the candidates, so its code changes
  // where it crosses a border, which is known to a thousandth of a candidate: only these are tried.
  std::array<uint64_t, kLast / 64 + 1> wanted{1};
  const auto want = [&wanted](int32_t candidate) {
    wanted[static_cast<size_t>(candidate / 64)] |= uint64_t{1} << (candidate % 64);
  };
  Iq4Reach reach;
  if (std::abs(trial(0)) < FLT_MIN) {  // subnormal numbers are too coarse for that
    for (int32_t candidate = 1; candidate <= kLast; ++candidate) want(candidate);
    reach.last.fill(kIq4Borders);
  } else {
    std::array<int8_t, 32> first{}, last{};
    NearestIq4Codes(group, trial(0), first.data());
    NearestIq4Codes(group, trial(kLast), last.data());
    for (size_t i = 0; i < group.size(); ++i) {
      reach.first[i] = static_cast<size_t>(std::min(first[i], last[i]));
      reach.last[i] = static_cast<size_t>(std::max(first[i], last[i]));
      for (size_t b = reach.first[i]; b < reach.last[i]; ++b) {
        const double ratio = static_cast<double>(largest) / static_cast<double>(group[i]);
        const double border = (static_cast<double>(kIq4Border[b]) * ratio + 127) * 10 + kLast / 2;
        for (const double place : {border - 0.01, border + 0.01})
          want(std::min(static_cast<int32_t>(place) + 1, kLast));
      }
    }
  }
  double least = 0;
  float best = 0;
  std::array<float, kTrials> chosen;
  size_t count = 0;
  const auto try_chosen = [&] {
    Tried tried;
    HWY_DYNAMIC_DISPATCH(TryIq4Scales)(group, reach, Trials(std::span(chosen).first(count)), tried);
    count = 0;
    if (tried.error[tried.best] >= least) return;
    least = tried.error[tried.best];
    best = static_cast<float>(tried.wc[tried.best] / tried.cc[tried.best]);
  };
  for (int32_t word = 0; word < std::ssize(wanted); ++word) {
    for (uint64_t bits = wanted[static_cast<size_t>(word)]; bits != 0; bits &= bits - 1) {
      if (count == kTrials) try_chosen();
      chosen[count++] = trial(64 * word + std::countr_zero(bits));
    }
  }
  try_chosen();
  return best;
}

ScaleAndMin LeastError(std::span<const float> group, std::span<const float> importance, CodeRange codes,
                       std::span<const ScaleAndMin> candidates) {
  Tried tried;
  HWY_DYNAMIC_DISPATCH(TryCandidates)(group, importance, codes, Candidates(candidates), tried);
  return std::isfinite(tried.error[tried.best]) ? candidates[tried.best] : ScaleAndMin{kInfinity, 0};
}

void NearestCodes(std::span<const float> values, ScaleAndMin fit, CodeRange codes, int8_t* code) {
  HWY_DYNAMIC_DISPATCH(StoreNearest)(values, fit, codes, code);
}

void NearestIq4Codes(std::span<const float> values, float scale, int8_t* code) {
  HWY_DYNAMIC_DISPATCH(StoreNearestIq4)(values, scale, code);
}

}  // namespace dgemma
#endif

// Vector loops of gradients, losses and the optimiser's step. Compiled once for each instruction set; train_*.cc call them through
// TrainRowOps.
#include <algorithm>

#include "kernels/cpu/train_simd.h"
#include "tensor/targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/train_rows.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "hwy/highway.h"
#include "kernels/cpu/math-inl.h"
#include "kernels/cpu/row_parts-inl.h"
#include "kernels/cpu/transpose-inl.h"

HWY_BEFORE_NAMESPACE();
namespace dgemma {
namespace HWY_NAMESPACE {

HWY_INLINE RowVec Part(const float* x, int64_t n) { return LoadPart(x, n, 0.0f); }

float SumProducts(const float* x, const float* y, const float* weight, int64_t n) {
  const RowTag d;
  RowVec sums[4] = {hn::Zero(d), hn::Zero(d), hn::Zero(d), hn::Zero(d)};
  for (int64_t i = 0; i < n; i += kLanes) {
    RowVec v = Part(x + i, n - i);
    if (weight != nullptr) v = hn::Mul(v, Part(weight + i, n - i));
    RowVec& sum = sums[i / kLanes % 4];
    sum = hn::MulAdd(v, Part(y + i, n - i), sum);
  }
  return Total(hn::Add(hn::Add(sums[0], sums[1]), hn::Add(sums[2], sums[3])));
}

void NormGradient(const NormedRow& row, float* dx, Start start, float* terms) {
  const RowTag d;
  const int64_t n = row.n;
  const float mean = row.scale * SumProducts(row.dout, row.x, row.weight, n) / static_cast<float>(n);  // of g n
  const RowVec by = hn::Set(d, row.scale), along = hn::Set(d, row.scale * mean);
  for (int64_t i = 0; i < n; i += kLanes) {
    const RowVec x = Part(row.x + i, n - i), dout = Part(row.dout + i, n - i);
    const RowVec g = row.weight == nullptr ? dout : hn::Mul(dout, Part(row.weight + i, n - i));
    if (terms != nullptr) StorePart(hn::Mul(dout, hn::Mul(x, by)), n - i, terms + i);
    if (dx == nullptr) continue;
    RowVec gradient = hn::Mul(by, hn::NegMulAdd(along, x, g));
    if (start == Start::kAdd) gradient = hn::Add(gradient, Part(dx + i, n - i));
    StorePart(gradient, n - i, dx + i);
  }
}

float GatedGradient(float* gate, float* up, float* dh, int64_t n, float factor) {
  const RowTag d;
  const RowVec one = hn::Set(d, 1.0f), by = hn::Set(d, factor);
  RowVec sum = hn::Zero(d);
  for (int64_t i = 0; i < n; i += kLanes) {
    const RowVec v = Part(gate + i, n - i), u = Part(up + i, n - i), g = Part(dh + i, n - i);
    // gelu(v) = v s with s = 1 / (1 + e), e = exp(-w), w = sqrt(8/pi) (v + 0.044715 v^3); s' = e s^2 w'.
    const RowVec square = hn::Mul(v, v);
    const RowVec cubic = hn::MulAdd(hn::Mul(square, v), hn::Set(d, 0.044715f), v);
    const RowVec e = Exp(d, hn::Mul(cubic, hn::Set(d, -1.59576912160573071f)));
    const RowVec s = hn::Div(one, hn::Add(one, e));
    const RowVec slope = hn::Mul(hn::MulAdd(square, hn::Set(d, 3 * 0.044715f), one), hn::Set(d, 1.59576912160573071f));
    const RowVec gelu = hn::Div(v, hn::Add(one, e));
    const RowVec derivative = hn::Mul(s, hn::MulAdd(hn::Mul(hn::Mul(e, s), v), slope, one));
    const RowVec h = hn::Mul(gelu, u), scaled = hn::Mul(g, by);
    sum = hn::MulAdd(h, g, sum);
    StorePart(hn::Mul(hn::Mul(scaled, u), derivative), n - i, gate + i);
    StorePart(hn::Mul(scaled, gelu), n - i, up + i);
    StorePart(hn::Mul(h, by), n - i, dh + i);
  }
  return Total(sum);
}

void ScoreGradient(float* scores, float* dscores, const SeenKeys& keys, SoftmaxScale scale, float mean) {
  const RowTag d;
  const RowVec from = hn::Set(d, static_cast<float>(keys.begin)), to = hn::Set(d, static_cast<float>(keys.end));
  const RowVec max = hn::Set(d, scale.max), by = hn::Set(d, scale.inverse_sum), less = hn::Set(d, mean);
  for (int64_t i = 0; i < keys.count; i += kLanes) {
    const RowVec place = hn::Iota(d, static_cast<float>(i));
    const auto seen = hn::And(hn::Ge(place, from), hn::Lt(place, to));
    const RowVec p = hn::Mul(Exp(d, hn::Sub(hn::LoadU(d, scores + i), max)), by);
    const RowVec ds = hn::Mul(p, hn::Sub(hn::LoadU(d, dscores + i), less));
    hn::StoreU(hn::IfThenElseZero(seen, p), d, scores + i);
    hn::StoreU(hn::IfThenElseZero(seen, ds), d, dscores + i);
  }
}

void LogitGradient(float* z, int64_t n, SoftmaxScale scale, float weight, float softcap) {
  const RowTag d;
  const RowVec max = hn::Set(d, scale.max), by = hn::Set(d, scale.inverse_sum * weight), cap = hn::Set(d, softcap);
  const RowVec one = hn::Set(d, 1.0f);
  for (int64_t i = 0; i < n; i += kLanes) {
    const RowVec v = Part(z + i, n - i), tanh = hn::Div(v, cap);
    const RowVec p = hn::Mul(Exp(d, hn::Sub(v, max)), by);
    StorePart(hn::Mul(p, hn::NegMulAdd(tanh, tanh, one)), n - i, z + i);
  }
}

void Transpose(const float* from, int64_t from_stride, int64_t rows, int64_t cols, float* to, int64_t to_stride) {
  constexpr int64_t kRows = 64;  // their lines of input stay in a first-level cache for the next columns
  for (int64_t begin = 0; begin < rows; begin += kRows) {
    const int64_t end = std::min(rows, begin + kRows);
    for (int64_t col = 0; col < cols; col += 4) {
      for (int64_t row = begin; row < end; row += 4) {
        const float* block = from + row * from_stride + col;
        float* out = to + col * to_stride + row;
        if (row + 4 <= end && col + 4 <= cols) {
          const float* const four[4] = {block, block + from_stride, block + 2 * from_stride, block + 3 * from_stride};
          Transpose4(four, out, to_stride);
          continue;
        }
        for (int64_t i = 0; i < std::min<int64_t>(4, end - row); ++i) {
          for (int64_t j = 0; j < std::min<int64_t>(4, cols - col); ++j) {
            out[j * to_stride + i] = block[i * from_stride + j];
          }
        }
      }
    }
  }
}

double SumSquaresWide(const float* x, int64_t n) {
  const hn::CappedTag<double, 8> d;
  const hn::Rebind<float, decltype(d)> half;
  constexpr auto kWide = static_cast<int64_t>(hn::MaxLanes(hn::CappedTag<double, 8>()));
  auto s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  int64_t i = 0;
  for (; i + 4 * kWide <= n; i += 4 * kWide) {
    const auto v0 = hn::PromoteTo(d, hn::LoadU(half, x + i)), v1 = hn::PromoteTo(d, hn::LoadU(half, x + i + kWide));
    const auto v2 = hn::PromoteTo(d, hn::LoadU(half, x + i + 2 * kWide));
    const auto v3 = hn::PromoteTo(d, hn::LoadU(half, x + i + 3 * kWide));
    s0 = hn::MulAdd(v0, v0, s0);
    s1 = hn::MulAdd(v1, v1, s1);
    s2 = hn::MulAdd(v2, v2, s2);
    s3 = hn::MulAdd(v3, v3, s3);
  }
  double total = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
  for (; i < n; ++i) total += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return total;
}

void Adam(const AdamStep& step, const float* gradient, int64_t n, float* m, float* v, float* weight) {
  const RowTag d;
  const RowVec scale = hn::Set(d, step.grad_scale), rate = hn::Set(d, step.rate), eps = hn::Set(d, step.eps);
  const RowVec keep = hn::Set(d, 1 - step.rate * step.decay);
  const RowVec beta1 = hn::Set(d, step.beta1), rest1 = hn::Set(d, 1 - step.beta1);
  const RowVec beta2 = hn::Set(d, step.beta2), rest2 = hn::Set(d, 1 - step.beta2);
  const RowVec correction1 = hn::Set(d, step.correction1), correction2 = hn::Set(d, step.correction2);
  for (int64_t i = 0; i < n; i += kLanes) {
    const RowVec g = hn::Mul(Part(gradient + i, n - i), scale);
    const RowVec mean = hn::MulAdd(beta1, Part(m + i, n - i), hn::Mul(rest1, g));
    const RowVec square = hn::MulAdd(beta2, Part(v + i, n - i), hn::Mul(hn::Mul(rest2, g), g));
    const RowVec deviation = hn::Add(hn::Sqrt(hn::Div(square, correction2)), eps);
    const RowVec change = hn::Mul(rate, hn::Div(hn::Div(mean, correction1), deviation));
    StorePart(mean, n - i, m + i);
    StorePart(square, n - i, v + i);
    StorePart(hn::MulSub(Part(weight + i, n - i), keep, change), n - i, weight + i);
  }
}

void Average(const float* value, int64_t n, float share, float* average) {
  const RowTag d;
  const bool from_value = share > 0.5f;  // from the nearer end, so that shares of 0 and 1 are exact
  const RowVec part = hn::Set(d, from_value ? 1 - share : share);
  for (int64_t i = 0; i < n; i += kLanes) {
    const RowVec old = Part(average + i, n - i), next = Part(value + i, n - i);
    const RowVec moved =
        from_value ? hn::MulAdd(hn::Sub(old, next), part, next) : hn::MulAdd(hn::Sub(next, old), part, old);
    StorePart(moved, n - i, average + i);
  }
}

TrainRowOps MakeTrainRowOps() {
  return {&SumProducts, &NormGradient,   &GatedGradient, &ScoreGradient, &LogitGradient,
          &Transpose,   &SumSquaresWide, &Adam,          &Average};
}

}  // namespace HWY_NAMESPACE
}  // namespace dgemma
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace dgemma {
HWY_EXPORT(MakeTrainRowOps);
TrainRowOps ChooseTrainRowOps() { return HWY_DYNAMIC_DISPATCH(MakeTrainRowOps)(); }
}  // namespace dgemma
#endif

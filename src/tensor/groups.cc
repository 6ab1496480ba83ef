// Quantisation of a row: one group at a time, scale and minimum rounded to half precision before the codes are chosen; where one
// scale belongs to the row, first that, then step and base of each group.
#include "tensor/groups.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "tensor/fit.h"
#include "tensor/rounding.h"

namespace dgemma {
namespace {

/// One group being quantised.
struct Group {
  std::span<const float> w;
  std::span<const float> importance;  // empty: all alike
  CodeRange codes;
};

/// Candidates around the scale that maps the largest magnitude to the end of the codes; int4 gains most from leaving it out.
ScaleAndMin FitWithoutMin(const Group& group) {
  const auto [low, high] = FindExtremes(group.w);
  const float most = std::max(-low, high);
  if (most == 0) return {};
  if (group.codes.lowest != -8) return {RoundToF16(most / static_cast<float>(group.codes.highest)), 0};
  // The longer, negative side of the codes takes the first value of largest magnitude: a negative scale where it is positive.
  const float largest = *std::ranges::find_if(group.w, [most](float value) { return std::abs(value) == most; });
  std::array<ScaleAndMin, 25> candidates;
  for (size_t i = 0; i < candidates.size(); ++i)
    candidates[i].scale = RoundToF16(largest / (-8.0f + 0.1f * static_cast<float>(static_cast<int32_t>(i) - 12)));
  return LeastError(group.w, group.importance, group.codes, candidates);
}

/// The range of the values (zero included, so that min >= 0), then a few narrower ones.
ScaleAndMin FitWithMin(const Group& group) {
  const auto [low, high] = FindExtremes(group.w);
  const float begin = std::min(0.0f, low), end = std::max(0.0f, high);
  if (begin == end) return {};
  const auto steps = static_cast<float>(group.codes.highest - group.codes.lowest);
  std::array<ScaleAndMin, 16> candidates;
  for (size_t i = 0; i < candidates.size(); ++i) {
    const float from = begin * (1.0f - 0.05f * static_cast<float>(i / 4));
    const float to = end * (1.0f - 0.05f * static_cast<float>(i % 4));
    const float scale = RoundToF16((to - from) / steps);
    candidates[i] = {scale, RoundToF16(scale * static_cast<float>(group.codes.lowest) - from)};
  }
  return LeastError(group.w, group.importance, group.codes, candidates);
}

/// What becomes of the stored values 0 to 15 of a group.
struct StepAndBase {
  int32_t step = 1;
  int32_t base = 128;

  ScaleAndMin Times(float scale) const {
    return {scale * static_cast<float>(step), scale * static_cast<float>(128 - base)};
  }
};

/// The best of five steps from the one whose 15 cover the range of the values down to 0.4 of it, each around the middle of the
/// range, shifted by up to half a step, and so that zero is on the grid; then of those near it.
StepAndBase FitSteps(const Group& group, float scale) {
  const auto [low, high] = FindExtremes(group.w);
  float widest = std::ceil((high - low) / (15.0f * scale)), middle = 0.5f * (low + high) / scale;
  StepAndBase best;
  for (const bool near : {false, true}) {
    std::array<ScaleAndMin, 30> candidates;
    std::array<StepAndBase, candidates.size()> steps;
    for (size_t i = 0; i < candidates.size(); ++i) {
      const auto smaller = static_cast<float>(i / 6), shift = static_cast<float>(i % 6) - 2;
      const float wanted = near ? static_cast<float>(best.step) + 2 - smaller : widest * (1 - 0.15f * smaller);
      const float step = std::clamp(std::nearbyint(wanted), 1.0f, 16.0f), centred = middle - 7.5f * step;
      const float begin =
          shift == 3 ? std::nearbyint(centred / step) * step : centred + (near ? 0.1f : 0.2f) * shift * step;
      const float base = std::clamp(std::nearbyint(begin) + 128, 0.0f, 255 - 15 * step);
      steps[i] = {static_cast<int32_t>(step), static_cast<int32_t>(base)};
      candidates[i] = steps[i].Times(scale);
    }
    const ScaleAndMin found = LeastError(group.w, group.importance, group.codes, candidates);
    for (size_t i = candidates.size(); i-- > 0;) {
      if (candidates[i].scale == found.scale && candidates[i].min == found.min) best = steps[i];
    }
    middle = 7.5f * static_cast<float>(best.step) + static_cast<float>(best.base - 128);
  }
  return best;
}

CodeRange CodesOf(const WeightFormat& format) {
  if (format.stepped()) return {0, 15};
  if (format.kind == WeightKind::kInt8) return {format.has_min ? -128 : -127, 127};
  return format.has_min ? CodeRange{0, 15} : CodeRange{-8, 7};
}

}  // namespace

Result<void> CheckRowLength(const WeightFormat& format, int64_t cols) {
  if (!format.row_scale || cols <= kMostRowInputs) return {};
  return Fail(StatusCode::kUnsupported,
              fmt::format("rows of {} values are longer than {}, the most of {}", cols, kMostRowInputs, Name(format)));
}

namespace {

/// Formats with one scale a row.
void QuantizeWholeRow(std::span<const float> row, const WeightFormat& format, std::span<const float> importance,
                      GroupedRow& out) {
  const auto [low, high] = FindExtremes(row);
  const float most = std::max(-low, high), scale = RoundToF16(most / (format.stepped() ? 120.0f : 127.0f));
  out.scale = {scale};
  out.min.clear();
  const bool none = scale == 0 || std::isinf(scale);
  if (!format.stepped()) {
    NearestCodes(row, {none ? 0 : scale, 0}, CodesOf(format), out.code.data());
    return;
  }
  const auto group_size = static_cast<size_t>(format.group);
  for (size_t begin = 0, g = 0; begin < row.size(); begin += group_size, ++g) {
    const size_t size = std::min(group_size, row.size() - begin);
    const Group group{row.subspan(begin, size), importance.empty() ? importance : importance.subspan(begin, size),
                      CodesOf(format)};
    const StepAndBase fit = none ? StepAndBase{} : FitSteps(group, scale);
    out.step[g] = static_cast<uint8_t>(fit.step);
    out.base[g] = static_cast<uint8_t>(fit.base);
    int8_t* code = out.code.data() + begin;
    NearestCodes(group.w, none ? ScaleAndMin{} : fit.Times(scale), group.codes, code);
    for (size_t i = 0; i < size; ++i) code[i] = static_cast<int8_t>(fit.step * code[i] + fit.base - 128);
  }
}

}  // namespace

void QuantizeRow(std::span<const float> row, const WeightFormat& format, std::span<const float> importance,
                 GroupedRow& out) {
  const auto groups = static_cast<size_t>(GroupCount(format, std::ssize(row)));
  out.code.resize(row.size());
  out.step.resize(format.stepped() ? groups : 0);
  out.base.resize(out.step.size());
  if (format.row_scale) return QuantizeWholeRow(row, format, importance, out);
  out.scale.resize(groups);
  out.min.resize(format.has_min ? groups : 0);
  for (size_t g = 0; g < groups; ++g) {
    const size_t begin = g * static_cast<size_t>(format.group);
    const size_t size = std::min(static_cast<size_t>(format.group), row.size() - begin);
    const Group group{row.subspan(begin, size), importance.empty() ? importance : importance.subspan(begin, size),
                      CodesOf(format)};
    const ScaleAndMin fit = format.has_min ? FitWithMin(group) : FitWithoutMin(group);
    out.scale[g] = fit.scale;
    if (format.has_min) out.min[g] = fit.min;
    NearestCodes(group.w, fit, group.codes, out.code.data() + begin);
  }
}

float QuantizeActivations(std::span<const float> x, std::span<int8_t> code) {
  float largest = 0;
  bool finite = true;
  for (const float value : x) {
    largest = std::max(largest, std::abs(value));
    finite = finite && std::isfinite(value);
  }
  if (largest < kLeastActivation || !finite) {
    std::fill(code.begin(), code.end(), int8_t{0});
    return finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
  }
  const float inverse = 127.0f / largest;
  for (size_t i = 0; i < x.size(); ++i) code[i] = static_cast<int8_t>(std::nearbyint(x[i] * inverse));
  return largest / 127.0f;
}

void DequantizeRow(const GroupedRow& row, const WeightFormat& format, std::span<float> out) {
  const auto group = static_cast<size_t>(format.group);
  for (size_t begin = 0, g = 0; begin < out.size(); begin += group, ++g) {
    const size_t end = std::min(out.size(), begin + group);
    for (size_t i = begin; i < end; ++i) {
      const float product = row.scale[format.row_scale ? 0 : g] * static_cast<float>(row.code[i]);
      out[i] = format.has_min ? product - row.min[g] : product;
    }
  }
}

}  // namespace dgemma

// Quantisation of a row: one group at a time, scale and minimum rounded to half precision before the codes are chosen.
#include "tensor/groups.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

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

CodeRange CodesOf(const WeightFormat& format) {
  if (format.kind == WeightKind::kInt8) return {format.has_min ? -128 : -127, 127};
  return format.has_min ? CodeRange{0, 15} : CodeRange{-8, 7};
}

}  // namespace

void QuantizeRow(std::span<const float> row, const WeightFormat& format, std::span<const float> importance,
                 GroupedRow& out) {
  const auto groups = static_cast<size_t>(GroupCount(format, std::ssize(row)));
  out.code.resize(row.size());
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
      const float product = row.scale[g] * static_cast<float>(row.code[i]);
      out[i] = format.has_min ? product - row.min[g] : product;
    }
  }
}

}  // namespace dgemma

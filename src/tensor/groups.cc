// Quantisation of a row: one group at a time, scale and minimum rounded to half precision before the codes are chosen.
#include "tensor/groups.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensor/rounding.h"

namespace dgemma {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

/// A half-precision value.
float Half(float value) { return FromF16(ToF16(value)); }

/// One group being quantised.
struct Group {
  std::span<const float> w;
  std::span<const float> importance;  // empty: all alike
  int32_t lowest;
  int32_t highest;

  float Importance(size_t i) const { return importance.empty() ? 1.0f : importance[i]; }
  int32_t Code(float value, float scale) const {
    return scale == 0 ? std::clamp(0, lowest, highest)
                      : std::clamp(static_cast<int32_t>(std::nearbyint(value / scale)), lowest, highest);
  }
  /// sum importance (w - (scale code - min))^2 with the best codes; infinite where scale or min is.
  double Error(float scale, float min) const {
    if (!std::isfinite(scale) || !std::isfinite(min)) return kInfinity;
    double error = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      const double difference = static_cast<double>(w[i]) - (scale * static_cast<float>(Code(w[i] + min, scale)) - min);
      error += static_cast<double>(Importance(i)) * difference * difference;
    }
    return error;
  }
};

struct ScaleAndMin {
  float scale = 0;
  float min = 0;
};

/// Candidates around the scale that maps the largest magnitude to the end of the codes; int4 gains most from leaving it out.
ScaleAndMin FitWithoutMin(const Group& group, int32_t candidates) {
  // Magnitude and sign in two steps: PITFALLS, "The largest magnitude".
  float most = 0;
  for (const float value : group.w) most = std::max(most, std::abs(value));
  if (most == 0) return {};
  const float largest = *std::ranges::find_if(group.w, [most](float value) { return std::abs(value) == most; });
  // The longer, negative side of the codes takes the value of largest magnitude: a negative scale where it is positive.
  const bool uneven = group.lowest == -8;
  const float ends = static_cast<float>(uneven ? group.lowest : group.highest);
  ScaleAndMin best{kInfinity, 0};
  double least = kInfinity;
  for (int32_t candidate = -candidates; candidate <= candidates; ++candidate) {
    const float scale = Half((uneven ? largest : std::abs(largest)) / (ends + 0.1f * static_cast<float>(candidate)));
    const double error = group.Error(scale, 0);
    if (error < least) {
      least = error;
      best.scale = scale;
    }
  }
  return best;
}

/// The range of the values (zero included, so that min >= 0), then a few narrower ones.
ScaleAndMin FitWithMin(const Group& group) {
  const auto [low, high] = std::minmax_element(group.w.begin(), group.w.end());
  const float begin = std::min(0.0f, *low), end = std::max(0.0f, *high);
  if (begin == end) return {};
  const auto steps = static_cast<float>(group.highest - group.lowest);
  ScaleAndMin best{kInfinity, 0};
  double least = kInfinity;
  for (int32_t shrink_low = 0; shrink_low <= 3; ++shrink_low) {
    for (int32_t shrink_high = 0; shrink_high <= 3; ++shrink_high) {
      const float from = begin * (1.0f - 0.05f * static_cast<float>(shrink_low));
      const float to = end * (1.0f - 0.05f * static_cast<float>(shrink_high));
      const float scale = Half((to - from) / steps);
      const float min = Half(scale * static_cast<float>(group.lowest) - from);
      const double error = group.Error(scale, min);
      if (error < least) {
        least = error;
        best = {scale, min};
      }
    }
  }
  return best;
}

}  // namespace

void QuantizeRow(std::span<const float> row, const WeightFormat& format, std::span<const float> importance,
                 GroupedRow& out) {
  const bool int8 = format.kind == WeightKind::kInt8;
  const auto groups = static_cast<size_t>(GroupCount(format, std::ssize(row)));
  out.code.resize(row.size());
  out.scale.resize(groups);
  out.min.resize(format.has_min ? groups : 0);
  for (size_t g = 0; g < groups; ++g) {
    const size_t begin = g * static_cast<size_t>(format.group);
    const size_t size = std::min(static_cast<size_t>(format.group), row.size() - begin);
    const Group group{row.subspan(begin, size), importance.empty() ? importance : importance.subspan(begin, size),
                      int8 ? (format.has_min ? -128 : -127) : (format.has_min ? 0 : -8),
                      int8             ? 127
                      : format.has_min ? 15
                                       : 7};
    const ScaleAndMin fit = format.has_min ? FitWithMin(group) : FitWithoutMin(group, int8 ? 0 : 12);
    out.scale[g] = fit.scale;
    if (format.has_min) out.min[g] = fit.min;
    for (size_t i = 0; i < size; ++i) {
      out.code[begin + i] = static_cast<int8_t>(group.Code(group.w[i] + fit.min, fit.scale));
    }
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
  for (size_t i = 0; i < out.size(); ++i) {
    const size_t group = i / static_cast<size_t>(format.group);
    out[i] = row.scale[group] * static_cast<float>(row.code[i]);
    if (format.has_min) out[i] -= row.min[group];
  }
}

}  // namespace dgemma

// One row of a weight matrix as integer codes in groups, and the conversions between it and float32.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "tensor/format.h"

namespace dgemma {

/// Codes without a minimum lie in [-128, 127] (int8) or [-8, 7] (int4); with one in [-128, 127] or [0, 15].
///   w[i] = scale[i / group] * code[i] - min[i / group], computed in float32 in this order.
/// Scales and minima are half-precision values (kept as float32); the last group may be short. Formats with one scale a row have
/// codes in [-128, 127]; stepped ones are (code[i] + 128 - base[i / group]) / step[i / group], 0 to 15, where they are stored.
struct GroupedRow {
  std::vector<int8_t> code;
  std::vector<float> scale;   ///< ScaleCount of them
  std::vector<float> min;     ///< empty where the format has none
  std::vector<uint8_t> step;  ///< of stepped formats, 1 to 16
  std::vector<uint8_t> base;  ///< of stepped formats
};

/// Groups of a row of `cols` values.
inline int64_t GroupCount(const WeightFormat& format, int64_t cols) { return (cols + format.group - 1) / format.group; }
/// Scales of a row: one for each group, or one.
inline int64_t ScaleCount(const WeightFormat& format, int64_t cols) {
  return format.row_scale ? 1 : GroupCount(format, cols);
}

/// The longest rows of formats with one scale a row: sums of 2^17 products of -128 and 127 still fit int32.
inline constexpr int64_t kMostRowInputs = int64_t{1} << 17;
/// kUnsupported where rows of `cols` values are too long for the format.
Result<void> CheckRowLength(const WeightFormat& format, int64_t cols);

/// Codes of a row, in a grouped format. With `importance` (one weight >= 0 for each column, such as the mean square of the
/// activations it meets) scale and minimum minimise sum importance (w - w')^2 over a few candidates; without, all count alike.
/// Values must be finite; where no candidate fits half precision, the scale is infinite (and ReadGroupedRow refuses the row).
/// A scale of a whole row takes its largest magnitude to code 127, in stepped formats to 120: then 16 steps of 15 reach it on both
/// sides of zero. Steps and bases are chosen group by group.
void QuantizeRow(std::span<const float> row, const WeightFormat& format, std::span<const float> importance,
                 GroupedRow& out);

/// Rows of activations whose largest magnitude is below this count as zero: 127 divided by it must be finite.
inline constexpr float kLeastActivation = 0x1p-120f;

/// Activations as codes of one scale: scale = max |x| / 127, code[i] = nearest(x[i] * (127 / max |x|)), ties to even. Returns the
/// scale; 0 (and codes 0) below kLeastActivation, NaN (and codes 0) when a value is not finite. What every backend does before a
/// product with grouped weights.
float QuantizeActivations(std::span<const float> x, std::span<int8_t> code);

/// The inverse of QuantizeRow: out[cols].
void DequantizeRow(const GroupedRow& row, const WeightFormat& format, std::span<float> out);

}  // namespace dgemma

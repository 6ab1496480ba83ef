// How weight matrices are held for computing: plain float32 or bfloat16, or integer codes in groups that share a scale.
// Few compute formats stand against many file formats; tensor/stored.h reads the files, tensor/panels.h lays out the groups.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "dgemma/status.h"

namespace dgemma {

enum class WeightKind : uint8_t { kF32, kBf16, kInt8, kInt4 };

/// A compute format. In grouped kinds, `group` consecutive inputs of one output share scale and minimum:
/// w = scale * code - min, with min = 0 where has_min is false.
/// Where row_scale is set, one scale belongs to a whole row and all else is integer, so that products need no float arithmetic
/// before the end of a row: w = scale * code with codes of int8; with int4, code = step * stored + base - 128 with step (1 to 16)
/// and base (0 to 255) of a group.
struct WeightFormat {
  WeightKind kind = WeightKind::kF32;
  int32_t group = 0;  ///< inputs of one group: 16, 32 or 64; 0 for plain kinds
  bool has_min = false;
  bool row_scale = false;

  constexpr bool grouped() const { return group > 0; }
  /// Stored values of four bits become codes by the step and base of their group.
  constexpr bool stepped() const { return row_scale && kind == WeightKind::kInt4; }
  bool operator==(const WeightFormat&) const = default;
};

inline constexpr WeightFormat kFloat32Weights{};
inline constexpr WeightFormat kBfloat16Weights{WeightKind::kBf16};
inline constexpr WeightFormat kInt8RowWeights{WeightKind::kInt8, 64, false, true};  ///< 64: what a row is padded to
inline constexpr WeightFormat kInt4RowWeights{WeightKind::kInt4, 32, false, true};

/// For people and files: "float32", "bfloat16", "int8-32", "int4-32-min", "int8-row", "int4-32-row".
std::string Name(const WeightFormat& format);

/// The format of this name; kInvalidArgument lists the spellings.
Result<WeightFormat> ParseWeightFormat(std::string_view name);

}  // namespace dgemma

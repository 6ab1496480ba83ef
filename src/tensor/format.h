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
struct WeightFormat {
  WeightKind kind = WeightKind::kF32;
  int32_t group = 0;  ///< inputs of one group: 16, 32 or 64; 0 for plain kinds
  bool has_min = false;

  bool grouped() const { return group > 0; }
  bool operator==(const WeightFormat&) const = default;
};

inline constexpr WeightFormat kFloat32Weights{};
inline constexpr WeightFormat kBfloat16Weights{WeightKind::kBf16};

/// For people and files: "float32", "bfloat16", "int8-32", "int4-32-min".
std::string Name(const WeightFormat& format);

/// The format of this name; kInvalidArgument lists the spellings.
Result<WeightFormat> ParseWeightFormat(std::string_view name);

}  // namespace dgemma

// Names of the compute formats, both ways.
#include "tensor/format.h"

#include <fmt/format.h>

namespace dgemma {

std::string Name(const WeightFormat& format) {
  if (!format.grouped()) return format.kind == WeightKind::kBf16 ? "bfloat16" : "float32";
  if (format.row_scale) return format.stepped() ? fmt::format("int4-{}-row", format.group) : "int8-row";
  return fmt::format("{}-{}{}", format.kind == WeightKind::kInt8 ? "int8" : "int4", format.group,
                     format.has_min ? "-min" : "");
}

Result<WeightFormat> ParseWeightFormat(std::string_view name) {
  for (const WeightFormat& single : {kFloat32Weights, kBfloat16Weights, kInt8RowWeights, kInt4RowWeights}) {
    if (name == Name(single)) return single;
  }
  for (const WeightKind kind : {WeightKind::kInt8, WeightKind::kInt4}) {
    for (const int32_t group : {16, 32, 64}) {
      for (const bool has_min : {false, true}) {
        const WeightFormat format{kind, group, has_min};
        if (name == Name(format)) return format;
      }
    }
  }
  return Fail(StatusCode::kInvalidArgument,
              fmt::format("format {}: not one of float32, bfloat16, int8-row, int4-32-row, int8-G, int8-G-min, int4-G, "
                          "int4-G-min with G one of 16, 32, 64",
                          name));
}

}  // namespace dgemma

// Rows of codes whose scales lie in tensors of their own, as quantised Hugging Face checkpoints hold them: FP8, INT4
// ("pack-quantized") and NVFP4. Values and codes of one row at a time; tensor/stored.h calls it,
// model/quantized_names.h finds the parts in files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "dgemma/status.h"
#include "files/dtype.h"
#include "tensor/groups.h"

namespace dgemma {

enum class CodeKind : uint8_t {
  kNone,  ///< values of a type of files/dtype.h, no scales
  kFp8,   ///< F8_E4M3, one byte a value
  kInt4,  ///< code + 8 in four bits, value i in the low (even i) or high half of a row's byte i / 2; rows are whole words
  kNvfp4,  ///< FP4 (E2M1) numbers, placed as kInt4
};

/// For people: "FP8", "INT4", "NVFP4".
const char* Name(CodeKind kind);

/// The scales of one matrix [rows, cols]. With s = scales[row / block_rows, col / block_cols] * factor / divisor, in
/// float32 and in this order, a value is s * code; INT4 with zero points: s * (code - zero).
struct CodeScales {
  CodeKind kind = CodeKind::kNone;
  DType dtype = DType::kF32;  ///< of `scales`: F32, F16, BF16, F8_E8M0 or F8_E4M3
  int64_t block_rows = 1;     ///< values that share a scale; those at the ends may be fewer
  int64_t block_cols = 1;
  int64_t grid_cols = 1;              ///< ceil(cols / block_cols)
  std::span<const std::byte> scales;  ///< [ceil(rows / block_rows), grid_cols], any alignment
  /// INT4: [ceil(rows / 8), grid_cols] words of four bytes, zero + 8 of row r in nibble r % 8; or empty.
  std::span<const std::byte> zero_points;
  float factor = 1;   ///< of the whole matrix (NVFP4)
  float divisor = 1;  ///< likewise, where the file holds the reciprocal
};

/// Bytes of one row's codes.
int64_t CodeBytes(CodeKind kind, int64_t cols);

/// The compute format that holds the codes as they are: NVFP4 int8-16 (codes doubled, scales halved); INT4 int4-G, with
/// minima where there are zero points, G the largest of 64, 32, 16 that divides the file's groups. Nothing for FP8 and
/// other groups.
std::optional<WeightFormat> GroupsOf(const CodeScales& scales);

/// The values of row `row` of the matrix, whose codes are `codes`: out[cols].
void DecodeScaledRow(const CodeScales& scales, std::span<const std::byte> codes, int64_t row, std::span<float> out);

/// The same row in GroupsOf(scales), which must be something. Scales and minima are rounded to half precision, to
/// infinity where they do not fit.
void DecodeScaledGroups(const CodeScales& scales, std::span<const std::byte> codes, int64_t row, int64_t cols,
                        GroupedRow& out);

/// kInvalidFile when a scale of this row is NaN or infinite.
Result<void> CheckRowScales(const CodeScales& scales, int64_t row);

}  // namespace dgemma

// Weight tensors as they lie in files, whatever their type, and reading rows out of them. Loaders, packers and
// converters use it; kernels do not.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "dgemma/status.h"
#include "files/dtype.h"
#include "tensor/groups.h"
#include "tensor/scaled_rows.h"

namespace dgemma {

/// Consecutive rows of one type, row-major, any alignment, not owned.
struct StoredRows {
  DType dtype = DType::kF32;
  int64_t rows = 0;
  std::span<const std::byte> bytes;  ///< exactly rows * cols values; every row is a whole number of blocks
  /// Of codes with scales of their own: the run is one matrix, `bytes` holds rows * CodeBytes, and `dtype` is what the
  /// file says.
  CodeScales scales{};

  bool scaled() const { return scales.kind != CodeKind::kNone; }
};

/// Matrices in the packed layout of tensor/panels.h, used as they are.
struct StoredPanels {
  WeightFormat format;
  std::span<const std::byte> bytes;   ///< GroupedBytes(format, count, rows, cols), aligned to 64
  std::shared_ptr<const void> owner;  ///< keeps `bytes`
};

/// Matrices [count, rows, cols]: either runs of rows that follow each other over all matrices (count * rows in all;
/// several where a file holds them as separate tensors), or panels.
struct StoredTensor {
  int64_t count = 1;  ///< number of matrices (experts), 1 otherwise
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<StoredRows> runs;
  StoredPanels panels;

  bool packed() const { return panels.format.grouped(); }
};

/// A tensor that is one run.
StoredTensor OneRun(DType dtype, int64_t count, int64_t rows, int64_t cols, std::span<const std::byte> bytes);

/// True for the types whose rows ReadRow widens.
bool IsWeightType(DType dtype);

/// Widens row `row` of matrix `index` to float32: out[0 .. tensor.cols). Types must satisfy IsWeightType.
void ReadRow(const StoredTensor& tensor, int64_t index, int64_t row, float* out);

/// The compute format that keeps what the tensor holds: float32 for F32 and F16, bfloat16 for BF16, the groups of a
/// block type or of codes with scales; int8-32 for FP8 and for groups that no format has, which is not exact. Where
/// runs differ, the one that keeps most.
WeightFormat NaturalFormat(const StoredTensor& tensor);

/// Row `row` of matrix `index` in a grouped format: the file's own codes where they are in this format, quantised
/// otherwise. kInvalidFile when a value or a stored scale is not finite or a scale does not fit half precision.
Result<void> ReadGroupedRow(const StoredTensor& tensor, int64_t index, int64_t row, const WeightFormat& format,
                            std::span<const float> importance, GroupedRow& out);

}  // namespace dgemma

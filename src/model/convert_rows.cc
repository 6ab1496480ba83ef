// Each row is encoded, decoded again and compared.
#include "model/convert_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/try.h"
#include "files/messages.h"
#include "tensor/ggml_blocks.h"
#include "tensor/rounding.h"

namespace dgemma {
namespace {

/// Squared errors of rows.
struct RowError {
  double error = 0, length = 0, largest = 0;

  RowError& operator+=(const RowError& other) {
    error += other.error;
    length += other.length;
    largest = std::max(largest, other.largest);
    return *this;
  }
};

Result<void> EncodeRow(DType dtype, std::span<const float> row, std::span<std::byte> bytes) {
  if (IsBlockType(dtype)) return EncodeBlocks(dtype, row, bytes);
  if (dtype == DType::kF32) {
    std::memcpy(bytes.data(), row.data(), row.size_bytes());
    return {};
  }
  for (size_t i = 0; i < row.size(); ++i) {
    const uint16_t bits = dtype == DType::kBF16 ? ToBf16(row[i]) : ToF16(row[i]);
    std::memcpy(bytes.data() + 2 * i, &bits, sizeof(bits));
    if (dtype == DType::kF16 && std::isfinite(row[i]) && !std::isfinite(FromF16(bits))) {
      return Fail(StatusCode::kInvalidFile, "holds values beyond the range of F16 (65504)");
    }
  }
  return {};
}

/// One row: read, encode, decode again, compare.
Result<RowError> ConvertRow(const StoredTensor& stored, int64_t place, DType dtype, std::span<std::byte> bytes) {
  std::vector<float> values(static_cast<size_t>(stored.cols)), back(values.size());
  ReadRow(stored, place / stored.rows, place % stored.rows, values.data());
  DG_CHECK_OK(EncodeRow(dtype, values, bytes));
  ReadRow(OneRun(dtype, 1, 1, stored.cols, bytes), 0, 0, back.data());
  RowError sums;
  for (size_t i = 0; i < values.size(); ++i) {
    const double w = static_cast<double>(values[i]), difference = static_cast<double>(back[i]) - w;
    if (!std::isfinite(w)) continue;  // stays what it is in plain types, and no other type takes it
    sums.error += difference * difference;
    sums.length += w * w;
    sums.largest = std::max(sums.largest, std::abs(difference));
  }
  return sums;
}

/// True when every run has this type: its bytes are the result.
bool IsAlready(const StoredTensor& stored, DType dtype) {
  return !stored.packed() &&
         std::ranges::all_of(stored.runs, [&](const StoredRows& run) { return run.dtype == dtype; });
}

}  // namespace

Result<void> ConvertRows(const StoredTensor& stored, TensorOutcome& outcome, TensorStream& stream,
                         const ByteSink& sink) {
  if (IsAlready(stored, outcome.to)) return stream.Copy(stored, sink);
  const auto row_bytes =
      static_cast<size_t>(static_cast<uint64_t>(stored.cols) / ValuesPerBlock(outcome.to) * BytesPerBlock(outcome.to));
  const auto convert_row = [&](int64_t place, std::span<std::byte> bytes) {
    return At(outcome.name, ConvertRow(stored, place, outcome.to, bytes));
  };
  DG_TRY(const RowError total, stream.MakeRows<RowError>(stored, row_bytes, sink, convert_row));
  outcome.relative_error = total.length > 0 ? std::sqrt(total.error / total.length) : 0;
  outcome.largest_error = total.largest;
  return {};
}

}  // namespace dgemma

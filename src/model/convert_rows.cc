// Rows are encoded in any order and summed up in theirs, so the figures do not depend on the number of threads.
#include "model/convert_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/try.h"
#include "tensor/ggml_blocks.h"
#include "tensor/rounding.h"

namespace dgemma {
namespace {

constexpr int64_t kBatchValues = int64_t{1} << 20;

/// Squared errors of one row.
struct RowError {
  double error = 0, length = 0, largest = 0;
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

Result<void> Deliver(std::span<const std::byte> bytes, ConvertState& state, const ByteSink& sink) {
  if (state.options.stop.stop_requested()) return Fail(StatusCode::kCancelled, "cancelled");
  DG_CHECK_OK(sink(bytes));
  state.done_bytes += std::ssize(bytes);
  if (state.options.progress) state.options.progress(state.done_bytes, state.total_bytes);
  return {};
}

Result<void> CopyRuns(const StoredTensor& stored, ConvertState& state, const ByteSink& sink) {
  constexpr size_t kPiece = size_t{16} << 20;
  for (const StoredRows& run : stored.runs) {
    for (size_t begin = 0; begin < run.bytes.size(); begin += kPiece) {
      DG_CHECK_OK(Deliver(run.bytes.subspan(begin, std::min(kPiece, run.bytes.size() - begin)), state, sink));
    }
  }
  return {};
}

}  // namespace

Result<void> ConvertRows(const StoredTensor& stored, TensorOutcome& outcome, ConvertState& state,
                         const ByteSink& sink) {
  if (IsAlready(stored, outcome.to)) return CopyRuns(stored, state, sink);
  const int64_t rows = stored.count * stored.rows;
  const int64_t batch = std::max<int64_t>(1, kBatchValues / stored.cols);
  const auto row_bytes =
      static_cast<size_t>(static_cast<uint64_t>(stored.cols) / ValuesPerBlock(outcome.to) * BytesPerBlock(outcome.to));
  std::vector<std::byte> bytes;
  std::vector<Result<RowError>> errors;
  RowError total;
  for (int64_t begin = 0; begin < rows; begin += batch) {
    const auto count = static_cast<size_t>(std::min(batch, rows - begin));
    bytes.resize(count * row_bytes);
    errors.assign(count, RowError{});
    state.pool.ParallelFor(static_cast<int64_t>(count), [&](int64_t row, int) {
      const auto index = static_cast<size_t>(row);
      errors[index] =
          ConvertRow(stored, begin + row, outcome.to, std::span(bytes).subspan(index * row_bytes, row_bytes));
    });
    for (const Result<RowError>& row : errors) {
      if (!row) return std::unexpected(row.error());
      total.error += row->error;
      total.length += row->length;
      total.largest = std::max(total.largest, row->largest);
    }
    DG_CHECK_OK(Deliver(bytes, state, sink));
  }
  outcome.relative_error = total.length > 0 ? std::sqrt(total.error / total.length) : 0;
  outcome.largest_error = total.largest;
  return {};
}

}  // namespace dgemma

// Widening of stored rows. memcpy because a tensor in a file may lie at any alignment.
#include "tensor/stored.h"

#include <cmath>
#include <cstring>
#include <optional>

#include "base/finite.h"
#include "base/try.h"
#include "tensor/ggml_blocks.h"
#include "tensor/panels.h"
#include "tensor/rounding.h"

namespace dgemma {
namespace {

/// One row within its run.
struct RowBytes {
  const StoredRows& run;
  int64_t row;  // within the run
  std::span<const std::byte> bytes;

  /// The format that holds its codes as they are, if there is one.
  std::optional<WeightFormat> Groups() const { return run.scaled() ? GroupsOf(run.scales) : GroupsOf(run.dtype); }
};

RowBytes FindRow(const StoredTensor& tensor, int64_t index, int64_t row) {
  int64_t place = index * tensor.rows + row;
  size_t run = 0;
  for (; place >= tensor.runs[run].rows; ++run) place -= tensor.runs[run].rows;
  const StoredRows& rows = tensor.runs[run];
  const uint64_t blocks = static_cast<uint64_t>(tensor.cols) / ValuesPerBlock(rows.dtype);
  const auto bytes = rows.scaled() ? static_cast<size_t>(CodeBytes(rows.scales.kind, tensor.cols))
                                   : static_cast<size_t>(blocks * BytesPerBlock(rows.dtype));
  return {rows, place, rows.bytes.subspan(static_cast<size_t>(place) * bytes, bytes)};
}

/// The panel of a row, and its lane there.
std::span<const std::byte> PanelOf(const StoredTensor& tensor, int64_t index, int64_t row) {
  const int64_t panels = (tensor.rows + kPanelLanes - 1) / kPanelLanes;
  const auto bytes = static_cast<size_t>(PanelBytes(tensor.panels.format, tensor.cols));
  return tensor.panels.bytes.subspan(static_cast<size_t>(index * panels + row / kPanelLanes) * bytes, bytes);
}

/// The format that keeps the values of one run, and its place among those formats: higher keeps more.
WeightFormat FormatOf(const StoredRows& run) {
  if (run.scaled()) return GroupsOf(run.scales).value_or(WeightFormat{WeightKind::kInt8, 32, false});
  if (const auto groups = GroupsOf(run.dtype)) return *groups;
  return run.dtype == DType::kBF16 ? kBfloat16Weights : kFloat32Weights;
}

int32_t Precision(const WeightFormat& format) {
  if (!format.grouped()) return format.kind == WeightKind::kF32 ? 1000 : 999;
  return (format.kind == WeightKind::kInt8 ? 500 : 0) - format.group + (format.has_min ? 1 : 0);
}

Result<void> RequireFinite(std::span<const float> values) {
  if (AllFinite(values)) return {};
  return Fail(StatusCode::kInvalidFile, "holds NaN or infinity, which no group can hold");
}

/// Scales and minima are stored in half precision.
Result<void> RequireHalves(const GroupedRow& row) {
  for (const std::vector<float>* values : {&row.scale, &row.min}) {
    for (const float value : *values) {
      if (!(std::abs(value) < 65520.0f))
        return Fail(StatusCode::kInvalidFile, "a group's scale or minimum is beyond half precision (65,504)");
    }
  }
  return {};
}

}  // namespace

StoredTensor OneRun(DType dtype, int64_t count, int64_t rows, int64_t cols, std::span<const std::byte> bytes) {
  return {count, rows, cols, {{dtype, count * rows, bytes}}, {}};
}

bool IsWeightType(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 || IsBlockType(dtype);
}

void ReadRow(const StoredTensor& tensor, int64_t index, int64_t row, float* out) {
  const std::span<float> values(out, static_cast<size_t>(tensor.cols));
  if (tensor.packed()) {
    GroupedRow grouped;
    LoadRow(PanelOf(tensor, index, row), tensor.panels.format, tensor.cols, row % kPanelLanes, grouped);
    DequantizeRow(grouped, tensor.panels.format, values);
    return;
  }
  const RowBytes source = FindRow(tensor, index, row);
  if (source.run.scaled()) return DecodeScaledRow(source.run.scales, source.bytes, source.row, values);
  const DType dtype = source.run.dtype;
  if (IsBlockType(dtype)) return DecodeBlocks(dtype, source.bytes, values);
  if (dtype == DType::kF32) {
    std::memcpy(out, source.bytes.data(), values.size_bytes());
    return;
  }
  for (int64_t col = 0; col < tensor.cols; ++col) {
    uint16_t bits = 0;
    std::memcpy(&bits, source.bytes.data() + col * 2, sizeof(bits));
    out[col] = dtype == DType::kBF16 ? FromBf16(bits) : FromF16(bits);
  }
}

WeightFormat NaturalFormat(const StoredTensor& tensor) {
  if (tensor.packed()) return tensor.panels.format;
  WeightFormat format = FormatOf(tensor.runs.front());
  for (const StoredRows& run : tensor.runs) {
    if (const WeightFormat other = FormatOf(run); Precision(other) > Precision(format)) format = other;
  }
  return format;
}

Result<void> ReadGroupedRow(const StoredTensor& tensor, int64_t index, int64_t row, const WeightFormat& format,
                            std::span<const float> importance, GroupedRow& out) {
  if (tensor.packed() && tensor.panels.format == format) {
    LoadRow(PanelOf(tensor, index, row), format, tensor.cols, row % kPanelLanes, out);
    return {};
  }
  if (!tensor.packed()) {
    const RowBytes source = FindRow(tensor, index, row);
    const bool scaled = source.run.scaled();
    if (scaled) DG_CHECK_OK(CheckRowScales(source.run.scales, source.row));
    if (source.Groups() == format) {
      if (scaled) {
        DecodeScaledGroups(source.run.scales, source.bytes, source.row, tensor.cols, out);
      } else {
        DecodeGroups(source.run.dtype, source.bytes, out);
      }
      return RequireHalves(out);
    }
  }
  std::vector<float> values(static_cast<size_t>(tensor.cols));
  ReadRow(tensor, index, row, values.data());
  DG_CHECK_OK(RequireFinite(values));
  QuantizeRow(values, format, importance, out);
  return RequireHalves(out);
}

}  // namespace dgemma

// Conversion between stored rows and packed panels.
#include "kernels/cpu/packed.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <mutex>
#include <optional>
#include <vector>

#include "tensor/panels.h"
#include "tensor/rounding.h"

namespace dgemma {
namespace {

int64_t BytesOfPanel(const WeightFormat& format, int64_t in) {
  if (format.grouped()) return PanelBytes(format, in);
  return (format.kind == WeightKind::kBf16 ? (in + 1) / 2 : in) * kPanel * 4;
}

/// One row of plain values into its lane.
void StorePlainRow(const std::vector<float>& row, bool pairs, uint32_t* unit) {
  if (!pairs) {
    for (const float value : row) {
      *unit = std::bit_cast<uint32_t>(value);
      unit += kPanel;
    }
    return;
  }
  for (size_t k = 0; k < row.size(); k += 2, unit += kPanel) {
    *unit = ToBf16(row[k]) | (k + 1 < row.size() ? static_cast<uint32_t>(ToBf16(row[k + 1])) << 16 : 0u);
  }
}

}  // namespace

PackedMatrix::PackedMatrix(const Weight& weight, int64_t index)
    : format(weight.format), out(weight.out), in(weight.in), panel_bytes(BytesOfPanel(weight.format, weight.in)) {
  panels = static_cast<const std::byte*>(weight.buffer.owner.get()) + index * PanelCount() * panel_bytes;
}

int64_t PackedWeightBytes(const WeightFormat& format, int64_t count, int64_t out, int64_t in) {
  return count * ((out + kPanel - 1) / kPanel) * BytesOfPanel(format, in);
}

Result<void> PackPanels(const StoredTensor& tensor, const Weight& weight, ThreadPool& pool) {
  const PackedMatrix first(weight, 0);
  const int64_t panels = first.PanelCount();
  std::mutex mutex;
  std::optional<Status> error;
  auto pack = [&](int64_t task, int) {
    const int64_t index = task / panels, begin = task % panels * kPanel;
    const std::span<std::byte> panel(static_cast<std::byte*>(weight.buffer.owner.get()) + task * first.panel_bytes,
                                     static_cast<size_t>(first.panel_bytes));
    std::vector<float> row(static_cast<size_t>(tensor.cols));
    GroupedRow grouped;
    if (weight.format.grouped()) ClearPanel(weight.format, tensor.cols, panel);
    for (int64_t lane = 0; lane < std::min(kPanel, tensor.rows - begin); ++lane) {
      if (!weight.format.grouped()) {
        ReadRow(tensor, index, begin + lane, row.data());
        StorePlainRow(row, weight.format.kind == WeightKind::kBf16, reinterpret_cast<uint32_t*>(panel.data()) + lane);
        continue;
      }
      const Result<void> read = ReadGroupedRow(tensor, index, begin + lane, weight.format, {}, grouped);
      if (!read) {
        const std::scoped_lock lock(mutex);
        error = read.error();
        return;
      }
      StoreRow(grouped, weight.format, tensor.cols, lane, panel);
    }
  };
  pool.ParallelFor(tensor.count * panels, std::ref(pack));
  if (error) return std::unexpected(*error);
  return {};
}

namespace {

void WidenGrouped(const ProductOps& ops, const PackedMatrix& matrix, const MatrixBlock& block, const LiveIds& needed,
                  float* out) {
  const WeightFormat& format = matrix.format;
  const int64_t groups = ScaleCount(format, matrix.in);
  const int64_t out_panel = (block.rows + kPanel - 1) / kPanel * kPanel * kPanel;
  const bool int4 = format.kind == WeightKind::kInt4;
  const int64_t half = format.group / 8;  // quads of an int4 group whose codes are low halves
  GroupedColumns columns{};
  columns.code_mask = int4 ? 0x0F0F0F0Fu : 0xFFFFFFFFu;
  columns.offset = static_cast<float>(format.row_scale ? 128 : StoredOffset(format));
  for (int64_t begin = 0; begin < block.rows; begin += kPanel) {
    columns.lanes = 0;
    for (int64_t lane = 0; lane < kPanel; ++lane) {
      if (needed[static_cast<size_t>(begin + lane)]) columns.lanes |= 1u << lane;
    }
    if (columns.lanes == 0) continue;
    const std::byte* panel = matrix.Panel((block.row + begin) / kPanel);
    const std::byte* codes = panel + PanelScaleBytes(format, matrix.in);
    for (int64_t k = block.col; k < block.col + block.cols; k += kPanel) {  // 16 columns share a group
      const int64_t group = k / format.group;
      columns.scale = panel + (format.row_scale ? 0 : group * kPanel * 2);
      columns.steps = format.stepped() ? panel + kStepsBegin + group * kStepBytes : nullptr;
      columns.min = format.has_min ? panel + (groups + group) * kPanel * 2 : nullptr;
      for (int64_t q = 0; q < 4; ++q) {  // a group of 16 has its low and high halves in the same 16 columns
        const auto place = static_cast<size_t>(q);
        const int64_t quad = k % format.group / 4 + q;
        columns.quads[place] = codes + (int4 ? group * half + quad % half : k / 4 + q) * kPanel * 4;
        columns.high_half[place] = int4 && quad >= half;
      }
      ops.widen(columns, out + (k - block.col) / kPanel * out_panel + begin * kPanel);
    }
  }
}

}  // namespace

void WidenBlock(const ProductOps& ops, const PackedMatrix& matrix, const MatrixBlock& block, const LiveIds& needed,
                float* out) {
  if (matrix.format.grouped()) {
    WidenGrouped(ops, matrix, block, needed, out);
    return;
  }
  const PanelFormat format = matrix.panel_format();
  const int64_t unit_values = format == PanelFormat::kBf16Pairs ? 2 : 1;
  const std::byte* from = matrix.Panel(block.row / kPanel) + block.col / unit_values * kPanel * 4;
  ops.transpose(from, format, matrix.panel_stride(), block.rows, block.cols, out);
}

void ReadPackedRow(const PackedMatrix& matrix, int64_t row, float scale, float* out) {
  const std::byte* panel = matrix.Panel(row / kPanel);
  if (matrix.format.grouped()) {
    GroupedRow grouped;
    LoadRow({panel, static_cast<size_t>(matrix.panel_bytes)}, matrix.format, matrix.in, row % kPanel, grouped);
    DequantizeRow(grouped, matrix.format, {out, static_cast<size_t>(matrix.in)});
    for (int64_t i = 0; i < matrix.in; ++i) out[i] *= scale;
    return;
  }
  const uint32_t* unit = reinterpret_cast<const uint32_t*>(panel) + row % kPanel;
  for (int64_t i = 0; i < matrix.in; ++i) {
    if (matrix.format.kind == WeightKind::kBf16) {
      const uint32_t pair = unit[i / 2 * kPanel];
      out[i] = std::bit_cast<float>(i % 2 == 0 ? pair << 16 : pair & 0xFFFF0000u) * scale;
    } else {
      out[i] = std::bit_cast<float>(unit[i * kPanel]) * scale;
    }
  }
}

}  // namespace dgemma

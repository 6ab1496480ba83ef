// Packed weights of the CPU backend: panels of 16 outputs, the last one zero padded, every matrix and panel aligned to 64 bytes.
//   float32   [count][out / 16][in][16]
//   bfloat16  [count][out / 16][in / 2 rounded up][16][2]
//   groups    [count][out / 16] panels of tensor/panels.h, which may be a mapped file
#pragma once

#include <bitset>

#include "base/thread_pool.h"
#include "kernels/cpu/simd.h"
#include "tensor/matrix.h"
#include "tensor/stored.h"

namespace dgemma {

/// One matrix [out, in] of a Weight, as the products read it.
struct PackedMatrix {
  const std::byte* panels = nullptr;
  WeightFormat format;
  int64_t out = 0;
  int64_t in = 0;
  int64_t panel_bytes = 0;

  PackedMatrix() = default;
  PackedMatrix(const Weight& weight, int64_t index);

  int64_t PanelCount() const { return (out + kPanel - 1) / kPanel; }
  const std::byte* Panel(int64_t panel) const { return panels + panel * panel_bytes; }
  /// Outputs [begin, begin + count); begin is a multiple of 16.
  PackedMatrix Outputs(int64_t begin, int64_t count) const {
    PackedMatrix part = *this;
    part.panels = Panel(begin / kPanel);
    part.out = count;
    return part;
  }
  /// Of plain formats.
  PanelFormat panel_format() const {
    return format.kind == WeightKind::kBf16 ? PanelFormat::kBf16Pairs : PanelFormat::kF32;
  }
  /// Distance of panels in units of 4 bytes: a float, or a pair of bfloat16.
  int64_t panel_stride() const { return panel_bytes / 4; }
};

/// Bytes of `count` packed matrices.
int64_t PackedWeightBytes(const WeightFormat& format, int64_t count, int64_t out, int64_t in);
/// Writes all panels of a stored tensor into `weight` (shape, format and buffer set by the caller). kInvalidFile as ReadGroupedRow.
Result<void> PackPanels(const StoredTensor& tensor, const Weight& weight, ThreadPool& pool);
/// Rows [row, row + rows) and columns [col, col + cols) of a matrix; row and col are multiples of 16, rows at most 256.
struct MatrixBlock {
  int64_t row;
  int64_t rows;
  int64_t col;
  int64_t cols;
};

/// Which of 256 consecutive rows.
using LiveIds = std::bitset<256>;

/// A block of a matrix as float32 panels of 16 columns [cols / 16][rows rounded up to 16][16]: the right side of products with the
/// matrix itself instead of its transpose. Of grouped matrices only rows that are in `needed` are written.
void WidenBlock(const ProductOps& ops, const PackedMatrix& matrix, const MatrixBlock& block, const LiveIds& needed,
                float* out);
/// Row `row` of a matrix: out[i] = value(row, i) * scale.
void ReadPackedRow(const PackedMatrix& matrix, int64_t row, float scale, float* out);

}  // namespace dgemma

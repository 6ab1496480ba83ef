// Packed weights of the CPU backend: panels of 16 outputs, [count][out / 16][in][16], the last panel zero padded, every matrix
// and panel aligned to 64 bytes. F32 and F16 are stored as float32; BF16 as pairs [count][out / 16][in / 2 rounded up][16][2].
#pragma once

#include "base/thread_pool.h"
#include "kernels/cpu/simd.h"
#include "tensor/matrix.h"

namespace dgemma {

/// One matrix [out, in] of a Weight, as the products read it.
struct PackedMatrix {
  const void* panels = nullptr;
  PanelFormat format = PanelFormat::kF32;
  int64_t out = 0;
  int64_t in = 0;
  int64_t panel_stride = 0;  ///< in units of the format (float or u32)

  PackedMatrix() = default;
  PackedMatrix(const Weight& weight, int64_t index);

  int64_t PanelCount() const { return (out + kPanel - 1) / kPanel; }
  /// First unit of a panel.
  const void* Panel(int64_t panel) const { return static_cast<const uint32_t*>(panels) + panel * panel_stride; }
};

/// Bytes of `count` packed matrices.
int64_t PackedWeightBytes(DType dtype, int64_t count, int64_t out, int64_t in);
/// Writes all panels of a stored tensor into `weight` (shape, type and buffer set by the caller).
void PackPanels(const StoredTensor& tensor, const Weight& weight, ThreadPool& pool);
/// Row `row` of a matrix: out[i] = value(row, i) * scale.
void ReadPackedRow(const PackedMatrix& matrix, int64_t row, float scale, float* out);

}  // namespace dgemma

// Conversion between stored rows and packed panels.
#include "kernels/cpu/packed.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <vector>

#include "tensor/rounding.h"
#include "tensor/stored.h"

namespace dgemma {
namespace {

/// Both formats use units of 4 bytes: a float, or a pair of bfloat16.
int64_t UnitsPerPanel(DType dtype, int64_t in) { return (dtype == DType::kBF16 ? (in + 1) / 2 : in) * kPanel; }

}  // namespace

PackedMatrix::PackedMatrix(const Weight& weight, int64_t index)
    : format(weight.dtype == DType::kBF16 ? PanelFormat::kBf16Pairs : PanelFormat::kF32),
      out(weight.out),
      in(weight.in),
      panel_stride(UnitsPerPanel(weight.dtype, weight.in)) {
  panels = static_cast<const uint32_t*>(weight.buffer.owner.get()) + index * PanelCount() * panel_stride;
}

int64_t PackedWeightBytes(DType dtype, int64_t count, int64_t out, int64_t in) {
  return count * ((out + kPanel - 1) / kPanel) * UnitsPerPanel(dtype, in) * 4;
}

void PackPanels(const StoredTensor& tensor, const Weight& weight, ThreadPool& pool) {
  const bool pairs = weight.dtype == DType::kBF16;
  const PackedMatrix first(weight, 0);
  const int64_t panels = first.PanelCount(), in = tensor.cols;
  std::vector<std::vector<float>> rows(static_cast<size_t>(pool.threads()),
                                       std::vector<float>(static_cast<size_t>(in)));
  auto pack = [&](int64_t task, int thread) {
    const int64_t index = task / panels, panel = task % panels;
    uint32_t* units = static_cast<uint32_t*>(weight.buffer.owner.get()) + task * first.panel_stride;
    std::vector<float>& row = rows[static_cast<size_t>(thread)];
    for (int64_t lane = 0; lane < std::min(kPanel, tensor.rows - panel * kPanel); ++lane) {
      ReadRow(tensor, index, panel * kPanel + lane, row.data());
      uint32_t* unit = units + lane;
      if (!pairs) {
        for (const float value : row) {
          *unit = std::bit_cast<uint32_t>(value);
          unit += kPanel;
        }
        continue;
      }
      for (int64_t k = 0; k < in; k += 2, unit += kPanel) {  // exact: the values came from bfloat16
        const uint32_t even = std::bit_cast<uint32_t>(row[static_cast<size_t>(k)]) >> 16;
        const uint32_t odd = k + 1 < in ? std::bit_cast<uint32_t>(row[static_cast<size_t>(k + 1)]) & 0xFFFF0000u : 0;
        *unit = even | odd;
      }
    }
  };
  pool.ParallelFor(tensor.count * panels, std::ref(pack));
}

void ReadPackedRow(const PackedMatrix& matrix, int64_t row, float scale, float* out) {
  const uint32_t* unit = static_cast<const uint32_t*>(matrix.Panel(row / kPanel)) + row % kPanel;
  for (int64_t i = 0; i < matrix.in; ++i) {
    if (matrix.format == PanelFormat::kBf16Pairs) {
      const uint32_t pair = unit[i / 2 * kPanel];
      out[i] = std::bit_cast<float>(i % 2 == 0 ? pair << 16 : pair & 0xFFFF0000u) * scale;
    } else {
      out[i] = std::bit_cast<float>(unit[i * kPanel]) * scale;
    }
  }
}

}  // namespace dgemma

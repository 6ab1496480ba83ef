// Deltas of weights (Weight::low_rank) on the CPU: their inner products, once for an operation, and what they add to a block of a
// product. The base product knows nothing of them.
#include <algorithm>

#include "kernels/cpu/backend.h"
#include "kernels/low_rank.h"

namespace dgemma {

void CpuKernels::ScaleDelta(const LowRank& delta, RowRole role, float* row) const {
  row_.scale(row, delta.rank(), 1.0f, delta.scale.data(), row);
  const ColumnRange masked = MaskedColumns(delta, role);
  std::fill(row + masked.begin, row + masked.end, 0.0f);
}

DeltaRows CpuKernels::FindDeltas(Matrix x, std::span<const RowRole> roles, std::span<const RowPart> parts,
                                 std::initializer_list<const Weight*> readers, MatrixRoom& room) {
  constexpr int64_t kRows = 48;  // a product of few columns gives threads work by its rows
  const RowPart all{0, 0, x.rows};
  if (parts.empty()) parts = {&all, 1};
  DeltaRows found;
  delta_tasks_.clear();
  int64_t work = 0;
  for (size_t i = 0; i < readers.size(); ++i) {
    const LowRank* delta = readers.begin()[i]->low_rank.get();
    if (delta == nullptr) continue;
    found[i] = room.Take(x.rows, delta->rank());
    work += 2 * x.rows * x.cols * delta->rank();
    for (const RowPart& part : parts) {
      for (int64_t row = 0; row < part.rows; row += kRows)
        delta_tasks_.push_back({delta, part.index, part.begin + row, std::min(kRows, part.rows - row), found[i]});
    }
  }
  if (delta_tasks_.empty()) return found;
  auto multiply = [&](int64_t index, int) {
    const DeltaTask& task = delta_tasks_[static_cast<size_t>(index)];
    const Matrix u = task.u.Rows(task.begin, task.rows);
    MultiplyBlock({x.Rows(task.begin, task.rows), {}, {}}, PackedMatrix(task.delta->down, task.index), 0, u);
    for (int64_t row = 0; row < u.rows; ++row) ScaleDelta(*task.delta, RoleOf(roles, task.begin + row), u.Row(row));
  };
  Run(static_cast<int64_t>(delta_tasks_.size()), work, multiply);
  return found;
}

DeltaRows CpuKernels::Deltas(Matrix x, std::span<const RowRole> roles, std::span<const RowPart> parts,
                             std::initializer_list<const Weight*> readers) {
  const int64_t floats = DeltaFloats(x.rows, readers);
  if (floats == 0) return {};
  MatrixRoom room(deltas_.Floats(floats));
  return FindDeltas(x, roles, parts, readers, room);
}

void CpuKernels::AddDelta(const DeltaTerm& delta, int64_t first_panel, Matrix c) const {
  if (delta.u.data == nullptr) return;
  Product product;
  product.a = delta.u.data;
  product.a_stride = delta.u.stride;
  product.rows = delta.u.rows;
  product.b = delta.up.Panel(first_panel);
  product.b_panel_stride = delta.up.panel_stride();
  product.depth = delta.u.cols;
  product.cols = c.cols;
  product.c = c.data;
  product.c_stride = c.stride;
  product.start = Start::kAdd;
  product_.multiply(product);
}

}  // namespace dgemma

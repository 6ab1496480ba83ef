// The left side of the CPU backend's products.
#pragma once

#include <cstring>

#include "kernels/cpu/grouped.h"
#include "kernels/cpu/scratch.h"
#include "tensor/matrix.h"

namespace dgemma {

/// Rows that enter a product: as they are, rounded to bfloat16 where the weights are, as codes where the weights are grouped.
struct ProductInput {
  Matrix rows;
  Matrix
      pairs;  ///< [rows, in / 2 rounded up] pairs of bfloat16 in place of floats, as PanelFormat::kBf16Pairs has them
  QuantizedRows codes;

  int64_t Count() const { return rows.rows; }
  ProductInput Rows(int64_t begin, int64_t count) const {
    return {rows.Rows(begin, count), pairs.data == nullptr ? Matrix{} : pairs.Rows(begin, count),
            codes.code == nullptr ? QuantizedRows{} : codes.Rows(begin, count)};
  }
};

/// Floats of memory that rounded rows of depth `in` take, and their layout there.
inline int64_t PairFloats(int64_t rows, int64_t in) { return rows * PaddedStride((in + 1) / 2); }
inline Matrix PairRows(float* memory, int64_t rows, int64_t in) {
  return {memory, rows, (in + 1) / 2, PaddedStride((in + 1) / 2)};
}

/// Room at `memory` for rows [rows, in] in the one form that products with weights of this format read.
inline ProductInput InputRoom(float* memory, int64_t rows, int64_t in, const WeightFormat& format) {
  ProductInput room{{memory, rows, in, PaddedStride(in)}, {}, {}};
  if (format.grouped()) room.codes = CodeRows(memory, rows, in, SumsOf(format));
  if (format.kind == WeightKind::kBf16) room.pairs = PairRows(memory, rows, in);
  return room;
}

/// Copies row `row` to `place` of such a room, in its form.
inline void CopyInputRow(const ProductInput& from, int64_t row, const ProductInput& to, int64_t place) {
  if (to.codes.code != nullptr) {
    CopyCodes(from.codes.Rows(row, 1), to.codes.Rows(place, 1));
    return;
  }
  const Matrix& source = to.pairs.data == nullptr ? from.rows : from.pairs;
  const Matrix& target = to.pairs.data == nullptr ? to.rows : to.pairs;
  std::memcpy(target.Row(place), source.Row(row), static_cast<size_t>(source.cols) * sizeof(float));
}

}  // namespace dgemma

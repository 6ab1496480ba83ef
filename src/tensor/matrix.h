// The shapes of data that move through a pass: float32 activation matrices, owned buffers, packed weights.
// Nothing here computes; src/kernels/kernels.h says what may be done with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "tensor/format.h"

namespace dgemma {

/// A view of float32 rows in the memory of the backend that allocated them. Row r starts at data + r * stride (in values).
struct Matrix {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t stride = 0;

  float* Row(int64_t row) const { return data + row * stride; }
  /// Rows [begin, begin + count) of this matrix.
  Matrix Rows(int64_t begin, int64_t count) const { return {data + begin * stride, count, cols, stride}; }
  /// The first `count` columns of every row.
  Matrix Cols(int64_t count) const { return {data, rows, count, stride}; }
};

/// Bytes in a backend's memory, zeroed on allocation, freed with the last owner.
struct Buffer {
  std::shared_ptr<void> owner;
  int64_t bytes = 0;

  float* Floats() const { return static_cast<float*>(owner.get()); }
};

struct LowRank;

/// `count` matrices [out, in] in a layout that only the backend that packed them reads.
/// Also used for vectors ([1, in], always float32 and in plain order) such as norm weights.
struct Weight {
  int64_t count = 0;
  int64_t out = 0;
  int64_t in = 0;
  WeightFormat format;
  Buffer buffer;
  /// A change of this weight that is applied beside it, unmerged; none for most. In gradients: where those of its matrices go.
  std::shared_ptr<const LowRank> low_rank = nullptr;

  bool present() const { return count > 0; }
  const float* Vector() const { return buffer.Floats(); }
};

/// What adapters (LoRA, arXiv:2106.09685) add to a weight: y = x W^T + (scale . mask . (x down^T)) up^T, all in float32. The columns of
/// the rank of all adapters stand side by side; those before `encoder` count for rows in the encoder's role only, the next `decoder` ones
/// for rows in the decoder's, the rest for every row; mask is 0 for the others.
struct LowRank {
  Weight down;               ///< count x [rank, in] f32
  Weight up;                 ///< count x [out, rank] f32
  std::vector<float> scale;  ///< [rank]: alpha / r of the adapter it belongs to, times the scale it is applied with
  int64_t encoder = 0, decoder = 0;

  int64_t rank() const { return down.out; }
};

}  // namespace dgemma

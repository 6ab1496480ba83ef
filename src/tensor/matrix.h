// The shapes of data that move through a pass: float32 activation matrices, owned buffers, packed weights.
// Nothing here computes; src/kernels/kernels.h says what may be done with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

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

/// `count` matrices [out, in] in a layout that only the backend that packed them reads.
/// Also used for vectors ([1, in], always float32 and in plain order) such as norm weights.
struct Weight {
  int64_t count = 0;
  int64_t out = 0;
  int64_t in = 0;
  WeightFormat format;
  Buffer buffer;

  bool present() const { return count > 0; }
  const float* Vector() const { return buffer.Floats(); }
};

}  // namespace dgemma

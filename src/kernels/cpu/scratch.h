// Memory that the CPU backend keeps between calls: buffers that only grow, and the sizes they need.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <new>

#include "kernels/cpu/grouped.h"
#include "kernels/cpu/simd.h"
#include "kernels/host_memory.h"
#include "tensor/matrix.h"

namespace dgemma {

/// Floats between rows of scratch matrices: not a multiple of a page, so that rows do not compete for the same cache lines.
inline constexpr int64_t kRowPadding = 16;
/// Rows that one product task takes at most: 288 x 256 floats of A fit a second-level cache.
inline constexpr int64_t kRowBlock = 288;
/// Columns of a fused or streamed block: 4 panels.
inline constexpr int64_t kColumnBlock = 64;

inline int64_t PaddedStride(int64_t cols) { return (cols + kPanel - 1) / kPanel * kPanel + kRowPadding; }

inline int64_t MatrixFloats(int64_t rows, int64_t cols) { return rows * PaddedStride(cols); }

/// Matrices one after the other in one piece of memory.
class MatrixRoom {
 public:
  explicit MatrixRoom(float* memory) : next_(memory) {}
  Matrix Take(int64_t rows, int64_t cols) {
    const Matrix matrix{next_, rows, cols, PaddedStride(cols)};
    next_ += MatrixFloats(rows, cols);
    return matrix;
  }

 private:
  float* next_;
};

/// A buffer that grows and never shrinks.
class GrowingBuffer {
 public:
  /// At least `count` floats, aligned to 64 bytes; contents undefined. Throws std::bad_alloc when memory is short.
  float* Floats(int64_t count) {
    const int64_t bytes = count * static_cast<int64_t>(sizeof(float));
    if (bytes > buffer_.bytes || buffer_.owner == nullptr) {
      buffer_ = {};
      Result<Buffer> larger = AllocateHost(bytes);
      if (!larger) throw std::bad_alloc();
      buffer_ = *std::move(larger);
    }
    return buffer_.Floats();
  }

  int64_t bytes() const { return buffer_.bytes; }

 private:
  Buffer buffer_;
};

/// Query rows times heads of a group that one attention task takes: its sums [pairs, Q] stay in a second-level cache.
inline int64_t AttentionPairs(int64_t head_size) { return std::clamp<int64_t>(24576 / head_size, 12, 96); }

/// Keys that one step of the online softmax covers, aligned to positions: four blocks of slots.
inline constexpr int64_t kScoreKeys = 256;

/// Floats of one thread's attention scratch: queries, sums, scores, states, and the keys or values of a step as pairs.
inline int64_t AttentionFloats(int64_t head_size, int64_t group) {
  const int64_t pairs = std::max(AttentionPairs(head_size), group);
  return pairs * (2 * PaddedStride(head_size) + (kScoreKeys + kRowPadding) + 4) + kScoreKeys / 2 * head_size;
}

/// Floats of u [rows, rank] of every reader that has deltas.
inline int64_t DeltaFloats(int64_t rows, std::initializer_list<const Weight*> readers) {
  int64_t floats = 0;
  for (const Weight* reader : readers)
    floats += reader->low_rank == nullptr ? 0 : MatrixFloats(rows, reader->low_rank->rank());
  return floats;
}

/// Floats of rows in the order of experts: their inputs as float32 or as codes, then their outputs.
inline int64_t GatheredFloats(int64_t slots, int64_t width, bool grouped) {
  return std::max(slots * PaddedStride(width), grouped ? CodeFloats(slots, width) : 0);
}

/// Floats of one thread's gate and up blocks; up begins anywhere in a panel.
inline int64_t GatedFloats(int64_t rows) {
  return std::min(rows, kRowBlock) * (PaddedStride(kColumnBlock) + PaddedStride(kColumnBlock + kPanel));
}

}  // namespace dgemma

// Keys and values of one sequence, layer by layer: full layers keep every position, sliding layers a ring of what can still be seen.
// A CanvasStore is the same for a canvas whose rows are not all computed in every pass.
// Positions become visible when Append is called after a pass; an interrupted pass leaves nothing to undo.
#pragma once

#include <vector>

#include "dgemma/status.h"
#include "kernels/kernels.h"
#include "model/config.h"

namespace dgemma {

class KvCache {
 public:
  /// `context` positions at most; `pass_rows` is the largest number of rows one pass writes. Memory is allocated here, once.
  static Result<KvCache> Create(const Config& config, int64_t context, int64_t pass_rows, Kernels& kernels);
  /// Bytes Create will allocate.
  static int64_t PlannedBytes(const Config& config, int64_t context, int64_t pass_rows);

  KvStore Layer(size_t layer) const { return stores_[layer]; }
  int64_t begin() const {
    return begin_;
  }  ///< first position of the sequence; above 0 only where a batch was left-padded
  int64_t end() const { return end_; }          ///< next position to be written
  int64_t context() const { return context_; }  ///< positions the cache can hold

  /// A pass is about to write positions below `end`, which may overwrite the oldest ones of a ring even when the pass fails.
  void WillWrite(int64_t end);
  /// Rows [end, end + rows) have been written by a pass that succeeded.
  void Append(int64_t rows);
  /// Starts an empty sequence at position `begin`.
  void Reset(int64_t begin = 0);
  /// Whether every ring still holds the window before `end`.
  bool CanTruncate(int64_t end) const;
  /// Forgets positions >= end. False, and nothing changes, when it cannot.
  bool Truncate(int64_t end);
  /// Becomes a sequence of the positions below `end` of another cache of the same configuration and sizes, which starts at 0 and
  /// `CanTruncate(end)`. Copies the slots that hold them; where the other's ring has wrapped, all slots.
  void CopyPrefix(const KvCache& from, int64_t end, Kernels& kernels);
  /// Overwrites all keys and values with zeros and starts an empty sequence at 0.
  void Clear(Kernels& kernels);
  /// No key or value of the positions [begin, end) is NaN or infinite. Every ring must still hold them.
  bool IsFinite(int64_t begin, int64_t end, Kernels& kernels) const;

 private:
  std::vector<KvStore> stores_;
  std::vector<Buffer> buffers_;
  int64_t context_ = 0;
  int64_t window_ = 0;
  int64_t ring_slots_ = 0;  // slots of the smallest store
  int64_t begin_ = 0, end_ = 0;
  int64_t written_ = 0;  // one past the highest position that may have been written since the sequence was empty
};

/// Keys and values of every layer for the rows of one canvas, kept from pass to pass: a row that a pass leaves out (Segment::places)
/// is seen as it was computed last. The first pass of a canvas computes all rows, so nothing has to be cleared.
class CanvasStore {
 public:
  static Result<CanvasStore> Create(const Config& config, Kernels& kernels);
  /// Bytes Create will allocate.
  static int64_t PlannedBytes(const Config& config);

  KvStore Layer(size_t layer) const { return stores_[layer]; }
  int64_t rows() const { return rows_; }
  /// Overwrites everything with zeros.
  void Clear(Kernels& kernels) const;

 private:
  Buffer memory_;
  std::vector<KvStore> stores_;
  int64_t rows_ = 0;
};

/// Overwrites a buffer of float32 with zeros.
void FillWithZeros(const Buffer& buffer, Kernels& kernels);

/// No value of a matrix in the backend's memory is NaN or infinite. Allocates nothing.
bool IsFinite(Matrix matrix, Kernels& kernels);

/// Slots rounded up to whole key blocks.
int64_t RoundUpToKeyBlock(int64_t slots);

/// Scratch keys and values for `slots` rows of one layer geometry inside memory of at least LocalStoreFloats floats.
KvStore LocalStore(float* memory, const LayerConfig& layer, int64_t slots);
int64_t LocalStoreFloats(const Config& config, int64_t slots);

}  // namespace dgemma

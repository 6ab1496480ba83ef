// Sizes of the rings and the bookkeeping of positions.
#include "model/kv_cache.h"

#include <algorithm>
#include <array>

#include "base/finite.h"
#include "base/try.h"

namespace dgemma {
namespace {

/// A sliding ring must hold the window - 1 positions before a pass and every row the pass writes.
int64_t RingSlots(const Config& config, int64_t context, int64_t pass_rows) {
  return RoundUpToKeyBlock(std::min(context, config.window - 1 + pass_rows));
}

int64_t LayerFloats(const LayerConfig& layer, int64_t slots) { return 2 * layer.kv_heads * layer.head_size * slots; }

KvStore MakeStore(float* memory, const LayerConfig& layer, int64_t slots) {
  return {memory, memory + layer.kv_heads * layer.head_size * slots, layer.kv_heads, layer.head_size, slots};
}

}  // namespace

int64_t RoundUpToKeyBlock(int64_t slots) { return (slots + kKeyBlock - 1) / kKeyBlock * kKeyBlock; }

KvStore LocalStore(float* memory, const LayerConfig& layer, int64_t slots) {
  return MakeStore(memory, layer, RoundUpToKeyBlock(slots));
}

int64_t LocalStoreFloats(const Config& config, int64_t slots) {
  int64_t floats = 0;
  for (const LayerConfig& layer : config.layers)
    floats = std::max(floats, LayerFloats(layer, RoundUpToKeyBlock(slots)));
  return floats;
}

int64_t CanvasStore::PlannedBytes(const Config& config) {
  int64_t floats = 0;
  for (const LayerConfig& layer : config.layers) floats += LayerFloats(layer, RoundUpToKeyBlock(config.canvas));
  return floats * static_cast<int64_t>(sizeof(float));
}

Result<CanvasStore> CanvasStore::Create(const Config& config, Kernels& kernels) {
  CanvasStore store;
  store.rows_ = config.canvas;
  DG_TRY(store.memory_, kernels.Allocate(PlannedBytes(config)));
  float* memory = store.memory_.Floats();
  for (const LayerConfig& layer : config.layers) {
    store.stores_.push_back(LocalStore(memory, layer, config.canvas));
    memory += LayerFloats(layer, RoundUpToKeyBlock(config.canvas));
  }
  return store;
}

int64_t KvCache::PlannedBytes(const Config& config, int64_t context, int64_t pass_rows) {
  int64_t floats = 0;
  for (const LayerConfig& layer : config.layers) {
    floats += LayerFloats(layer, layer.sliding ? RingSlots(config, context, pass_rows) : RoundUpToKeyBlock(context));
  }
  return floats * static_cast<int64_t>(sizeof(float));
}

Result<KvCache> KvCache::Create(const Config& config, int64_t context, int64_t pass_rows, Kernels& kernels) {
  KvCache cache;
  cache.context_ = context;
  cache.window_ = config.window;
  cache.ring_slots_ = RoundUpToKeyBlock(context);
  for (const LayerConfig& layer : config.layers) {
    const int64_t slots = layer.sliding ? RingSlots(config, context, pass_rows) : RoundUpToKeyBlock(context);
    cache.ring_slots_ = std::min(cache.ring_slots_, slots);
    DG_TRY(Buffer buffer, kernels.Allocate(LayerFloats(layer, slots) * static_cast<int64_t>(sizeof(float))));
    cache.stores_.push_back(MakeStore(buffer.Floats(), layer, slots));
    cache.buffers_.push_back(std::move(buffer));
  }
  return cache;
}

void KvCache::WillWrite(int64_t end) { written_ = std::max(written_, end); }

void KvCache::Append(int64_t rows) {
  end_ += rows;
  WillWrite(end_);
}

void KvCache::Reset(int64_t begin) { begin_ = end_ = written_ = begin; }

bool KvCache::CanTruncate(int64_t end) const {
  if (end >= end_ || end <= begin_) return true;
  const int64_t oldest_in_ring = written_ - ring_slots_;  // positions below were overwritten by later ones
  const int64_t oldest_needed = std::max(begin_, end - (window_ - 1));  // `end` itself: none
  return oldest_needed >= std::min(end, oldest_in_ring);
}

bool KvCache::Truncate(int64_t end) {
  if (!CanTruncate(end)) return false;
  if (end <= begin_)
    Reset(begin_);
  else
    end_ = std::min(end, end_);
  return true;
}

void KvCache::CopyPrefix(const KvCache& from, int64_t end, Kernels& kernels) {
  bool wrapped = false;
  for (size_t layer = 0; layer < stores_.size(); ++layer) {
    const KvStore& store = stores_[layer];
    const bool all = from.written_ > store.slots;
    wrapped |= all;
    // A head's first n slots follow each other in both orders, n a multiple of the panel.
    const int64_t slots = all ? store.slots : RoundUpToKeyBlock(end);
    const auto heads = [&](float* data) {
      return Matrix{data, store.kv_heads, slots * store.head_size, store.slots * store.head_size};
    };
    kernels.Copy(heads(from.stores_[layer].k), heads(store.k));
    kernels.Copy(heads(from.stores_[layer].v), heads(store.v));
  }
  Reset();
  end_ = end;
  written_ = wrapped ? from.written_ : end;
}

void KvCache::Clear(Kernels& kernels) {
  for (const Buffer& buffer : buffers_) FillWithZeros(buffer, kernels);
  Reset();
}

bool KvCache::IsFinite(int64_t begin, int64_t end, Kernels& kernels) const {
  for (const KvStore& store : stores_) {
    for (int64_t pos = begin, next = 0; pos < end; pos = next) {  // panel by panel
      const int64_t slot = pos % store.slots, slots = std::min(end - pos, kKeyPanel - slot % kKeyPanel);
      next = pos + slots;
      for (int64_t head = 0; head < store.kv_heads; ++head) {
        const Matrix keys{store.k + store.KeyIndex(head, slot, 0), store.head_size, slots, kKeyPanel};
        const Matrix values{store.v + store.ValueIndex(head, slot, 0), slots, store.head_size, store.head_size};
        if (!dgemma::IsFinite(keys, kernels) || !dgemma::IsFinite(values, kernels)) return false;
      }
    }
  }
  return true;
}

void CanvasStore::Clear(Kernels& kernels) const { FillWithZeros(memory_, kernels); }

void FillWithZeros(const Buffer& buffer, Kernels& kernels) {
  constexpr int64_t kPart = 16'384;
  const std::vector<float> zeros(kPart);
  const int64_t floats = buffer.bytes / static_cast<int64_t>(sizeof(float));
  for (int64_t begin = 0; begin < floats; begin += kPart) {
    const int64_t part = std::min(kPart, floats - begin);
    kernels.Upload(std::span(zeros).first(static_cast<size_t>(part)), {buffer.Floats() + begin, 1, part, part});
  }
}

bool IsFinite(Matrix matrix, Kernels& kernels) {
  if (matrix.rows == 0 || matrix.cols == 0) return true;
  if (matrix.stride == matrix.cols) matrix = {matrix.data, 1, matrix.rows * matrix.cols, matrix.rows * matrix.cols};
  std::array<float, 4096> part;
  const int64_t part_cols = std::min(matrix.cols, std::ssize(part)), part_rows = std::ssize(part) / part_cols;
  for (int64_t row = 0; row < matrix.rows; row += part_rows) {
    for (int64_t col = 0; col < matrix.cols; col += part_cols) {
      const Matrix piece{matrix.Row(row) + col, std::min(part_rows, matrix.rows - row),
                         std::min(part_cols, matrix.cols - col), matrix.stride};
      const auto read = std::span(part).first(static_cast<size_t>(piece.rows * piece.cols));
      kernels.Download(piece, read);
      if (!AllFinite(read)) return false;
    }
  }
  return true;
}

}  // namespace dgemma

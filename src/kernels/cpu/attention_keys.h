// Which keys the rows of a span see, and how blocks of keys lie in a ring of slots: for attention and its gradients.
#pragma once

#include <algorithm>

#include "kernels/cpu/scratch.h"
#include "kernels/kernels.h"

namespace dgemma {

/// Keys (or positions, or rows) [begin, end); empty when end is not beyond begin.
struct KeyRange {
  int64_t begin;
  int64_t end;

  bool operator==(const KeyRange&) const = default;
};

/// Positions of the cache that a row sees.
inline KeyRange CacheRange(const AttentionSpan& span, int64_t row) {
  const int64_t end = span.causal ? span.pos + row + 1 : span.cache_end;
  int64_t begin = span.cache_begin;
  if (span.window > 0) begin = std::max(begin, end - (span.causal ? span.window : span.window - 1));
  return {begin, end};
}

/// kScoreKeys keys from position `pos` on (a multiple of it). In a ring they are whole runs of kKeyBlock consecutive slots.
struct KeyBlock {
  const KvStore* store;
  int64_t kv_head;
  int64_t pos;

  int64_t Slot(int64_t key) const { return (pos + key) % store->slots; }
};

/// Calls run(begin, end) for the parts of `keys` that lie in consecutive slots.
template <typename Run>
void ForEachRun(const KeyBlock& block, KeyRange keys, Run run) {
  while (keys.begin < keys.end) {
    const int64_t slots_left = block.store->slots - block.Slot(keys.begin);
    const int64_t end = std::min(keys.end, keys.begin + slots_left);
    run(KeyRange{keys.begin, end});
    keys.begin = end;
  }
}

}  // namespace dgemma

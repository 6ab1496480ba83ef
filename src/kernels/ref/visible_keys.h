// Which keys a row of a span sees, in which order: shared by the forward and the backward pass of the reference.
#pragma once

#include <algorithm>
#include <vector>

#include "kernels/kernels.h"

namespace dgemma {

/// One key/value that a row sees; `local` says in which of the span's stores.
struct VisibleKey {
  bool local = false;
  int64_t slot = 0;

  const KvStore& StoreOf(const AttentionSpan& span) const { return local ? span.local : span.cache; }
};

/// Keys in the order that Transformers concatenates them: cache by position, then the canvas itself. `pos`: of the row.
inline std::vector<VisibleKey> VisibleKeys(const AttentionSpan& span, int64_t pos) {
  const int64_t end = span.causal ? pos + 1 : span.cache_end;
  int64_t begin = span.cache_begin;
  if (span.window > 0) begin = std::max(begin, end - (span.causal ? span.window : span.window - 1));
  std::vector<VisibleKey> keys;
  for (int64_t p = begin; p < end; ++p) keys.push_back({false, p % span.cache.slots});
  if (!span.causal) {
    for (int64_t slot = 0; slot < span.local_rows; ++slot) keys.push_back({true, slot});
  }
  return keys;
}

}  // namespace dgemma

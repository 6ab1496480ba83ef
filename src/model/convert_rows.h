// One tensor from any stored form to rows of one type, batch by batch on several threads, with the errors measured.
// Used by convert.cc only.
#pragma once

#include "dgemma/status.h"
#include "files/tensor_to_write.h"
#include "model/convert.h"
#include "tensor/stored.h"

namespace dgemma {

/// Where one conversion stands; shared by all its tensors.
struct ConvertState {
  const ConvertOptions& options;
  ThreadPool& pool;
  int64_t done_bytes = 0;
  int64_t total_bytes = 0;
};

/// Hands the rows of `stored` to `sink` as `outcome.to` and fills the errors of `outcome`. kInvalidFile for values that
/// the type cannot hold, kCancelled; else what the sink says.
Result<void> ConvertRows(const StoredTensor& stored, TensorOutcome& outcome, ConvertState& state, const ByteSink& sink);

}  // namespace dgemma

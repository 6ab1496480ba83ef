// One tensor from any stored form to rows of one type, with the errors measured. Used by convert.cc only.
#pragma once

#include "dgemma/status.h"
#include "files/tensor_to_write.h"
#include "model/convert.h"
#include "model/tensor_stream.h"
#include "tensor/stored.h"

namespace dgemma {

/// Hands the rows of `stored` to `sink` as `outcome.to` and fills the errors of `outcome`. kInvalidFile, naming the tensor, for values that
/// the type cannot hold, kCancelled; else what the sink says.
Result<void> ConvertRows(const StoredTensor& stored, TensorOutcome& outcome, TensorStream& stream,
                         const ByteSink& sink);

}  // namespace dgemma
